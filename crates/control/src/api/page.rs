//! Pages of lists: how long one is, and whether there is another after it.

/// How many entries a page has that was asked for with `limit`.
///
/// # Errors
/// Why it cannot be so many.
pub(super) fn limit_of(limit: Option<u32>) -> Result<u32, String> {
    let limit = limit.unwrap_or(PAGE);
    if (1..=MOST).contains(&limit) { Ok(limit) } else { Err(format!("limit is not from 1 to {MOST}")) }
}

/// A page of `limit` entries of what was found, and the `next` of the one after it: `found` has one entry more if there is one.
pub(super) fn page_of<T, N>(mut found: Vec<T>, limit: u32, next: impl Fn(&T) -> N) -> (Vec<T>, Option<N>) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(next);
    (found, next)
}

/// Why an `after` is refused that no page gave.
pub(super) const NO_NEXT: &str = "after is not the `next` of a page";

/// Where nothing is asked for, as the OpenAPI document says.
const PAGE: u32 = 100;

/// The most, as the OpenAPI document says: an export has all.
const MOST: u32 = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_a_next_one_only_if_more_was_found() {
        let page = |found: u32, limit| page_of((1..=found).collect(), limit, |last| *last);
        assert_eq!(page(3, 2), (vec![1, 2], Some(2)));
        assert_eq!(page(2, 2), (vec![1, 2], None));
        assert_eq!(page(0, 2), (vec![], None));
    }

    #[test]
    fn a_limit_is_from_1_to_500_and_100_without_one() {
        assert_eq!([limit_of(None), limit_of(Some(1)), limit_of(Some(500))], [Ok(100), Ok(1), Ok(500)]);
        assert!(limit_of(Some(0)).is_err() && limit_of(Some(501)).is_err());
    }
}
