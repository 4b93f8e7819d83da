//! The order of attribute keys.

use std::cmp::Ordering;
use std::sync::LazyLock;

use icu_collator::options::CollatorOptions;
use icu_collator::{CollatorBorrowed, CollatorPreferences};

static ROOT: LazyLock<CollatorBorrowed<'static>> = LazyLock::new(|| {
    CollatorBorrowed::try_new(CollatorPreferences::default(), CollatorOptions::default())
        .expect("the root collation is compiled in")
});

/// Compares attribute keys as .NET's `StringComparer.InvariantCulture` does, that is by the root collation of
/// the Unicode CLDR: `a < A < b < B`.
///
/// This order decides the bytes of the log's keys and the names of its topics. Different strings that the
/// collation takes for equal, such as composed and decomposed accents, are ordered by their UTF-16 code units,
/// so that the order is total: it says `Equal` of equal strings only.
///
/// ```
/// let mut keys = ["b", "B", "a", "A"];
/// keys.sort_by(|a, b| vektonn_core::compare_keys(a, b));
/// assert_eq!(keys, ["a", "A", "b", "B"]);
/// ```
pub fn compare_keys(a: &str, b: &str) -> Ordering {
    ROOT.compare(a, b).then_with(|| a.encode_utf16().cmp(b.encode_utf16()))
}

/// Sorts by key in the order of [`compare_keys`].
pub(crate) fn sort_by_key<T>(items: &mut [T], key: impl Fn(&T) -> &str) {
    items.sort_by(|a, b| compare_keys(key(a), key(b)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(mut keys: Vec<&str>) -> Vec<&str> {
        sort_by_key(&mut keys, |key| key);
        keys
    }

    #[test]
    fn case_and_accents_decide_only_between_equal_letters() {
        assert_eq!(sorted(vec!["B", "A", "b", "a"]), ["a", "A", "b", "B"]);
        assert_eq!(sorted(vec!["Zebra", "apple", "Apple"]), ["apple", "Apple", "Zebra"]);
        assert_eq!(
            sorted(vec!["resume", "résumé", "Resume", "rest"]),
            ["rest", "resume", "Resume", "résumé"]
        );
        assert_eq!(sorted(vec!["ab", "Aa", "aB", "AA", "aa"]), ["aa", "Aa", "AA", "ab", "aB"]);
    }

    #[test]
    fn punctuation_digits_and_scripts_are_in_the_order_of_the_root_collation() {
        assert_eq!(sorted(vec!["a", "1", "_", "-", "10", "2"]), ["_", "-", "1", "10", "2", "a"]);
        assert_eq!(sorted(vec!["Shard.Id", "ShardId", "Shard_Id"]), ["Shard_Id", "Shard.Id", "ShardId"]);
        assert_eq!(sorted(vec!["я", "z", "Ω", "а"]), ["z", "Ω", "а", "я"]);
    }

    #[test]
    fn only_equal_strings_are_equal() {
        let (composed, decomposed) = ("\u{e9}", "e\u{301}");
        assert_eq!(ROOT.compare(composed, decomposed), Ordering::Equal);
        assert_eq!(compare_keys(composed, decomposed), Ordering::Greater);
        assert_eq!(compare_keys(decomposed, composed), Ordering::Less);
        assert_eq!(compare_keys("a\u{0}", "a"), Ordering::Greater);
        assert_eq!(compare_keys("Id", "Id"), Ordering::Equal);
    }
}
