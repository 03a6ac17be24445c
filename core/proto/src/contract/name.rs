//! Names: which are allowed, and which known one somebody meant.

use unicode_normalization::is_nfc;

use super::limits::MAX_NAME;

/// Why `name` is not an identifier, or `None` if it is one.
pub(crate) fn identifier_fault(name: &str) -> Option<String> {
    common_fault(name).or_else(|| (!is_identifier(name)).then(|| {
        format!("{name:?} is not an identifier: use letters, digits and _, not starting with a digit")
    }))
}

/// Why `tag` is not a wire tag, or `None` if it is one.
pub(crate) fn tag_fault(tag: &str) -> Option<String> {
    let part_ok = |part: &str| {
        let mut chars = part.chars();
        chars.next().is_some_and(is_start) && chars.all(|c| is_continue(c) || c == '-')
    };
    common_fault(tag).or_else(|| (!tag.split(['/', '.']).all(part_ok)).then(|| {
        format!("{tag:?} is not a wire tag: use identifiers joined by / or ., such as \"mission/LogEntry\"")
    }))
}

/// Whether `name` is an identifier by its characters alone.
pub(crate) fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(is_start) && chars.all(is_continue)
}

fn common_fault(name: &str) -> Option<String> {
    if name.is_empty() {
        Some("the name is empty".into())
    } else if name.len() > MAX_NAME {
        Some(format!(
            "the name has {} bytes of UTF-8, at most {MAX_NAME} are allowed",
            name.len()
        ))
    } else if !is_nfc(name) {
        Some(format!(
            "{name:?} is not in Unicode normalisation form NFC: write it with composed characters"
        ))
    } else {
        None
    }
}

fn is_start(c: char) -> bool {
    c == '_' || unicode_ident::is_xid_start(c)
}

fn is_continue(c: char) -> bool {
    unicode_ident::is_xid_continue(c)
}

/// The candidate that `name` is most likely a slip of, if any is near enough to suggest.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Below this similarity suggestions are noise; `agentId` for `agent_id` and one swapped pair are well above.
    const NEAR: f64 = 0.75;
    let folded = fold(name);
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::normalized_damerau_levenshtein(&folded, &fold(candidate)),
                candidate,
            )
        })
        .filter(|(similarity, _)| *similarity >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Names that differ only in case and underscores are the same slip: camelCase written for snake_case.
fn fold(name: &str) -> String {
    name.chars()
        .filter(|c| *c != '_' && *c != '-')
        .flat_map(char::to_lowercase)
        .collect()
}

/// A list of names for an error text, cut after 16.
pub(crate) fn list<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 16;
    let total = names.len();
    let mut text = names.take(SHOWN).collect::<Vec<_>>().join(", ");
    if total > SHOWN {
        text.push_str(&format!(", … ({} more)", total - SHOWN));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers() {
        for good in ["a", "_", "agent_id", "getStatus", "größe", "名前", "x9"] {
            assert_eq!(identifier_fault(good), None, "{good}");
        }
        for bad in [
            "",
            "9x",
            "a b",
            "a-b",
            "a.b",
            "$type",
            "gro\u{308}ße",
            "a\0",
            &"x".repeat(256),
        ] {
            assert!(identifier_fault(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn tags() {
        for good in [
            "Log",
            "mission/LogEntry",
            "my-app/v2.Point",
            "MissionControl.getStatus",
        ] {
            assert_eq!(tag_fault(good), None, "{good}");
        }
        for bad in [
            "",
            "/Log",
            "mission//Log",
            "mission/",
            "a b/C",
            "-a",
            "mission/9",
        ] {
            assert!(tag_fault(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn suggestions_are_near_or_absent() {
        let fields = ["agent_id", "status", "uptime_secs"];
        assert_eq!(nearest("agentId", fields), Some("agent_id"));
        assert_eq!(nearest("statsu", fields), Some("status"));
        assert_eq!(nearest("colour", fields), None);
    }
}
