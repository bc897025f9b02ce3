use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use setu_model::Secret;

/// Where a password is found: `{ file = ".." }`, `{ env = ".." }`, or the text itself.
///
/// A file is best: it can be rotated, and its permissions are its own. Never the command line.
#[derive(Debug, Clone)]
pub enum PasswordSource {
    /// A file whose first line is the password.
    File(PathBuf),
    /// An environment variable that holds it.
    Env(String),
    /// The password itself.
    Inline(Secret<String>),
}

impl PasswordSource {
    /// Reads the password.
    ///
    /// # Errors
    /// Says which file or variable is missing or empty.
    pub fn read(&self) -> Result<Secret<String>, String> {
        let (text, from) = match self {
            Self::File(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                (text.lines().next().unwrap_or_default().trim().to_owned(), path.display().to_string())
            }
            Self::Env(name) => {
                let text = std::env::var(name).map_err(|_| format!("the environment has no {name}"))?;
                (text, format!("variable {name}"))
            }
            Self::Inline(password) => (password.reveal().clone(), "it".to_owned()),
        };
        if text.is_empty() { Err(format!("{from} is empty")) } else { Ok(Secret::new(text)) }
    }

    /// The file, if it is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Env(_) | Self::Inline(_) => None,
        }
    }

    pub(super) fn file_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::Env(_) | Self::Inline(_) => None,
        }
    }
}

impl<'de> Deserialize<'de> for PasswordSource {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(SourceVisitor)
    }
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = PasswordSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a password as { file = \"..\" }, { env = \"..\" } or text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(PasswordSource::Inline(Secret::new(text.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let wrong = || A::Error::custom("a password is found in exactly one of file and env");
        let (key, value) = map.next_entry::<String, String>()?.ok_or_else(wrong)?;
        let source = match key.as_str() {
            "file" => PasswordSource::File(PathBuf::from(value)),
            "env" => PasswordSource::Env(value),
            other => return Err(A::Error::unknown_field(other, &["file", "env"])),
        };
        if map.next_key::<String>()?.is_some() { Err(wrong()) } else { Ok(source) }
    }
}
