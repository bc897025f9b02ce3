use super::DigestError;
use crate::scan;

/// The parameters behind `Digest`, values without their quotes. Every name stands once.
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads `Digest name=value, name="value"`.
    pub(super) fn read(header: &str) -> Result<Self, DigestError> {
        let header = header.trim();
        let (scheme, rest) = header.split_once([' ', '\t']).unwrap_or((header, ""));
        if !scheme.eq_ignore_ascii_case("Digest") {
            return Err(DigestError::OtherScheme);
        }
        let mut fields = Self(Vec::new());
        for part in scan::split(rest, b',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) =
                part.split_once('=').ok_or(DigestError::Malformed("parameter without a value"))?;
            fields.add(name.trim_end(), value.trim_start())?;
        }
        Ok(fields)
    }

    /// Takes the value of a parameter.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(other, _)| other == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Takes the value of a parameter that must be there.
    pub(super) fn require(&mut self, name: &'static str) -> Result<String, DigestError> {
        self.take(name).ok_or(DigestError::Malformed(name))
    }

    fn add(&mut self, name: &str, value: &str) -> Result<(), DigestError> {
        if !scan::is_token(name.as_bytes()) {
            return Err(DigestError::Malformed("parameter name is no token"));
        }
        let name = name.to_ascii_lowercase();
        if self.0.len() >= MOST || self.0.iter().any(|(other, _)| *other == name) {
            return Err(DigestError::Malformed("parameter given twice, or too many"));
        }
        let value = if value.starts_with('"') {
            match scan::quoted(value) {
                Some((value, "")) => value,
                Some(_) | None => return Err(DigestError::Malformed("broken quotes")),
            }
        } else if value.is_empty() || value.contains(['"', ' ', '\t']) {
            return Err(DigestError::Malformed("broken value"));
        } else {
            value.to_owned()
        };
        self.0.push((name, value));
        Ok(())
    }
}

/// The most parameters taken: the grammar names eleven.
const MOST: usize = 32;
