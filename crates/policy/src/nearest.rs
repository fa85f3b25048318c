//! What was probably meant.

/// What people know by another name from elsewhere.
const SYNONYMS: &[(&str, &str)] = &[
    ("address", "host"),
    ("allow", "egress"),
    ("allowed_hosts", "egress"),
    ("allowlist", "egress"),
    ("cpu", "cpus"),
    ("credentials", "credential"),
    ("domain", "host"),
    ("domains", "host"),
    ("environment", "env"),
    ("agents", "agent"),
    ("inherits", "extends"),
    ("sandboxes", "sandbox"),
    ("workspaces", "workspace"),
    ("hostname", "host"),
    ("max_memory", "memory"),
    ("nofile", "files"),
    ("network", "egress"),
    ("processes", "pids"),
    ("rules", "egress"),
    ("secret", "credential"),
    ("secrets", "credential"),
    ("storage", "disk"),
    ("timeout", "time"),
    ("upstream", "connect"),
    ("url", "host"),
    ("verb", "methods"),
];

/// The word of `known` that `text` is most likely a slip of, if any is near.
pub(crate) fn nearest<'a>(text: &str, known: &[&'a str]) -> Option<&'a str> {
    let folded = text.to_lowercase().replace('-', "_");
    let synonym = SYNONYMS
        .iter()
        .find(|(word, _)| *word == folded)
        .and_then(|(_, meant)| known.iter().find(|word| *word == meant));
    if let Some(word) = synonym {
        return Some(word);
    }
    // Nobody mistypes that much, and the distance costs the product of both lengths.
    if folded.len() > 64 {
        return None;
    }
    known
        .iter()
        .map(|word| (distance(&folded, &word.replace('-', "_")), *word))
        .filter(|(distance, word)| *distance <= (word.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Edits between two words: insertions, removals, replacements, and swaps of neighbours.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut rows = vec![(0..=right.len()).collect::<Vec<usize>>()];
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(a != b);
            let mut best = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let known = ["host", "ports", "methods", "paths", "from_env"];
        for (text, meant) in [
            ("hsot", Some("host")),
            ("Host", Some("host")),
            ("port", Some("ports")),
            ("method", Some("methods")),
            ("from-env", Some("from_env")),
            ("hostname", Some("host")),
            ("xyzzy", None),
            ("", None),
            ("été", None),
        ] {
            assert_eq!(nearest(text, &known), meant, "{text}");
        }
    }
}
