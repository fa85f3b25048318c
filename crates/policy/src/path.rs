//! Path patterns: `*` within one segment, `**` across segments.
//!
//! `/repos/*/issues`, `/v1/pre*fix`, `/repos/acme/**`. `**` stands for any number of segments, none included, so
//! `/repos/acme/**` covers `/repos/acme` too. Matching is case-sensitive, on the canonical path, and takes time bounded by
//! the product of path and pattern length: there is no backtracking beyond the last wildcard.

use std::fmt;

use crate::target::{LaxPath, TargetError, canonical_segment, lax_pieces};

#[cfg(test)]
mod tests;

/// Longest pattern accepted.
const MAX_PATTERN: usize = 4096;

/// Why a text is no path pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathPatternError {
    /// Does not begin with `/`.
    #[error("a path begins with `/`")]
    NotAbsolute,
    /// `**` beside other characters in one segment, or `***`.
    #[error("`**` stands alone between two slashes; within a segment write `*`")]
    DoubleStarInSegment,
    /// `?` or `#`.
    #[error("a path holds no `{0}`; queries are not judged")]
    Query(char),
    /// Longer than a policy needs.
    #[error("it is longer than 4096 bytes")]
    TooLong,
    /// No request could ever have this path.
    #[error("no request can match it: {0}")]
    Target(#[from] TargetError),
}

/// A pattern for canonical paths.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPattern {
    text: String,
    strict: Vec<Segment>,
    /// The same, as deny rules compare it.
    lax: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Segment {
    /// `**`
    AnyDepth,
    Literal(String),
    /// Pieces between stars; the first and the last are anchored.
    Glob(Vec<String>),
}

impl PathPattern {
    /// Parses a pattern. Its literal parts are brought into the same canonical spelling as paths; blanks and non-ASCII
    /// characters may be written raw.
    pub fn parse(text: &str) -> Result<Self, PathPatternError> {
        if text.len() > MAX_PATTERN {
            return Err(PathPatternError::TooLong);
        }
        let Some(relative) = text.strip_prefix('/') else {
            return Err(PathPatternError::NotAbsolute);
        };
        if let Some(character) = text.chars().find(|c| matches!(c, '?' | '#')) {
            return Err(PathPatternError::Query(character));
        }
        if text.starts_with("//") {
            return Err(TargetError::LeadingDoubleSlash.into());
        }
        let mut canonical = String::with_capacity(text.len());
        let mut strict = Vec::new();
        let mut lax = Vec::new();
        for segment in relative.split('/') {
            canonical.push('/');
            if segment == "**" {
                canonical.push_str(segment);
                // Two in a row mean the same as one.
                if strict.last() != Some(&Segment::AnyDepth) {
                    strict.push(Segment::AnyDepth);
                }
                if lax.last() != Some(&Segment::AnyDepth) {
                    lax.push(Segment::AnyDepth);
                }
                continue;
            }
            if segment.contains("**") {
                return Err(PathPatternError::DoubleStarInSegment);
            }
            let segment = canonical_segment(&escape_raw(segment))?;
            canonical.push_str(&segment);
            lax.extend(lax_pieces(&segment).map(|piece| Segment::parse(&piece)));
            strict.push(Segment::parse(&segment));
        }
        // Escaping makes text longer, and the canonical text must itself be a pattern.
        if canonical.len() > MAX_PATTERN {
            return Err(PathPatternError::TooLong);
        }
        Ok(Self {
            text: canonical,
            strict,
            lax,
        })
    }

    /// Whether the pattern covers a canonical path.
    pub fn matches(&self, path: &str) -> bool {
        match path.strip_prefix('/') {
            Some(relative) => matches_segments(&self.strict, relative),
            None => false,
        }
    }

    /// Whether some server could read the path as one that the pattern covers.
    pub(crate) fn matches_lax(&self, path: &LaxPath) -> bool {
        match path.as_str() {
            // No segments at all.
            "" => self.lax.iter().all(|segment| *segment == Segment::AnyDepth),
            joined => matches_segments(&self.lax, joined),
        }
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for PathPattern {
    type Err = PathPatternError;

    fn from_str(text: &str) -> Result<Self, PathPatternError> {
        Self::parse(text)
    }
}

impl Segment {
    fn parse(text: &str) -> Self {
        if text.contains('*') {
            Self::Glob(text.split('*').map(str::to_owned).collect())
        } else {
            Self::Literal(text.to_owned())
        }
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::AnyDepth => true,
            Self::Literal(literal) => literal == text,
            // A star alone asks for something to be there: `/a/*` does not cover `/a/`.
            Self::Glob(pieces) => !text.is_empty() && matches_glob(pieces, text),
        }
    }
}

/// Leftmost matches of the middle pieces are as good as any, so one pass suffices.
fn matches_glob(pieces: &[String], text: &str) -> bool {
    let [first, middle @ .., last] = pieces else {
        return false;
    };
    let Some(mut rest) = text
        .strip_prefix(first.as_str())
        .and_then(|rest| rest.strip_suffix(last.as_str()))
    else {
        return false;
    };
    for piece in middle {
        match rest.split_once(piece.as_str()) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}

/// Matches slash-separated `path` (without its leading slash) with at most one pending `**` to return to.
fn matches_segments(pattern: &[Segment], path: &str) -> bool {
    let mut remaining = Some(path);
    let mut at = 0;
    // Behind the last `**`: where the pattern goes on, and where in the path it is tried next.
    let mut retry: Option<(usize, Option<&str>)> = None;
    loop {
        match (pattern.get(at), remaining) {
            (Some(Segment::AnyDepth), _) => {
                at += 1;
                retry = Some((at, remaining));
                continue;
            }
            (Some(segment), Some(text)) => {
                let (head, tail) = split_segment(text);
                if segment.matches(head) {
                    at += 1;
                    remaining = tail;
                    continue;
                }
            }
            (None, None) => return true,
            (None, Some(_)) => {}
            // The path is used up and the pattern wants more: no later start can help.
            (Some(_), None) => return false,
        }
        match retry {
            Some((_, None)) | None => return false,
            Some((resume, Some(text))) => {
                let (_, tail) = split_segment(text);
                at = resume;
                remaining = tail;
                retry = Some((resume, tail));
            }
        }
    }
}

fn split_segment(text: &str) -> (&str, Option<&str>) {
    match text.split_once('/') {
        Some((head, tail)) => (head, Some(tail)),
        None => (text, None),
    }
}

fn escape_raw(segment: &str) -> String {
    use fmt::Write as _;
    let mut escaped = String::with_capacity(segment.len());
    for character in segment.chars() {
        if character == ' ' || !character.is_ascii() {
            let mut buffer = [0; 4];
            for byte in character.encode_utf8(&mut buffer).bytes() {
                write!(escaped, "%{byte:02X}").expect("a String takes every write");
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}
