//! What a shared cache may keep, and for how long (RFC 9111), from an answer's fields.
//!
//! Only lifetimes that an origin states count; nothing is guessed from `Last-Modified`. Where directives contradict each
//! other or cannot be read, the shorter life holds. `Vary` needs no look but for `*`: all fields of a request are in its
//! [key](super::key).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// RFC 9111 section 1.2.2 has caches understand ages up to here.
const LONGEST: u64 = 1 << 31;

/// How long an answer stays as it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// Seconds of life in all; 0 if it has to be confirmed each time.
    pub seconds: u64,
    /// Seconds of age when it arrived.
    pub age: u64,
}

/// The lifetime of a 200 or 304 with these fields that arrived at `now` (seconds since 1970), or None if it must not be
/// kept: it is for one recipient only, or would never be of use again.
pub fn lifetime<'a>(
    fields: impl Iterator<Item = (&'a str, &'a [u8])>,
    now: u64,
) -> Option<Lifetime> {
    let (mut max_age, mut s_maxage, mut expires) = (None, None, None);
    let (mut date, mut age) = (None, 0);
    let (mut confirm, mut has_validator) = (false, false);
    for (name, value) in fields {
        match name.to_ascii_lowercase().as_str() {
            "set-cookie" | "trailer" | "content-range" | "www-authenticate" => return None,
            "vary" if value.contains(&b'*') => return None,
            "cache-control" => {
                for (directive, argument) in directives(value) {
                    match directive.as_str() {
                        "no-store" | "private" => return None,
                        "no-cache" => confirm = true,
                        "max-age" => shorter(&mut max_age, seconds(&argument)),
                        "s-maxage" => shorter(&mut s_maxage, seconds(&argument)),
                        _ => {}
                    }
                }
            }
            "expires" => shorter(&mut expires, http_date(value).unwrap_or(0)),
            "date" => date = http_date(value),
            "age" => age = age.max(seconds(&String::from_utf8_lossy(value))),
            "etag" | "last-modified" => has_validator = true,
            _ => {}
        }
    }
    let apparent = date.map_or(0, |date| now.saturating_sub(date));
    let stated = s_maxage
        .or(max_age)
        .or_else(|| expires.map(|expires| expires.saturating_sub(date.unwrap_or(now))));
    let lifetime = Lifetime {
        seconds: if confirm {
            0
        } else {
            stated.unwrap_or(0).min(LONGEST)
        },
        age: age.max(apparent).min(LONGEST),
    };
    (has_validator || lifetime.seconds > lifetime.age).then_some(lifetime)
}

/// The directives of one `Cache-Control`: name in lower case, and argument without quotes (empty if there is none).
pub fn directives(value: &[u8]) -> impl Iterator<Item = (String, String)> {
    let text = String::from_utf8_lossy(value).into_owned();
    // A quoted list of field names falls apart at its commas: its parts are no directives that count.
    let parts: Vec<_> = text
        .split(',')
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(name, argument)| {
            (
                name.trim().to_ascii_lowercase(),
                argument.trim().trim_matches('"').to_owned(),
            )
        })
        .filter(|(name, _)| !name.is_empty())
        .collect();
    parts.into_iter()
}

fn shorter(known: &mut Option<u64>, other: u64) {
    *known = Some(known.map_or(other, |known| known.min(other)));
}

/// Zero if it is no number: an `Age` that cannot be read adds nothing, a lifetime that cannot be read is none.
fn seconds(text: &str) -> u64 {
    let text = text.trim();
    match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true if text.len() > 10 => LONGEST,
        true => text.parse().unwrap_or(0).min(LONGEST),
        false => 0,
    }
}

fn http_date(value: &[u8]) -> Option<u64> {
    let time: SystemTime = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
    time.duration_since(UNIX_EPOCH)
        .as_ref()
        .map(Duration::as_secs)
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1994-11-06 08:49:37
    const NOW: u64 = 784_111_777;

    fn of(fields: &[(&str, &str)]) -> Option<(u64, u64)> {
        lifetime(
            fields.iter().map(|(name, value)| (*name, value.as_bytes())),
            NOW,
        )
        .map(|life| (life.seconds, life.age))
    }

    #[test]
    fn the_stated_lifetime_counts() {
        let expires = ("Expires", "Sun, 06 Nov 1994 09:49:37 GMT");
        let date = ("Date", "Sun, 06 Nov 1994 08:49:27 GMT");
        for (fields, expected) in [
            (&[("Cache-Control", "public, max-age=600")][..], (600, 0)),
            (&[("cache-control", "max-age=600, s-maxage=60")], (60, 0)),
            (
                &[("cache-control", "max-age=600"), ("age", "40")],
                (600, 40),
            ),
            (&[("cache-control", "max-age=600"), date], (600, 10)),
            (
                &[
                    ("cache-control", "max-age=600"),
                    ("cache-control", "max-age=60"),
                ],
                (60, 0),
            ),
            (&[("cache-control", "max-age=600"), expires], (600, 0)),
            (&[expires, date], (3610, 10)),
            (&[expires], (3600, 0)),
            (&[("cache-control", "max-age=\"5\"")], (5, 0)),
            (
                &[("cache-control", "max-age=99999999999999999999")],
                (LONGEST, 0),
            ),
            (
                &[("cache-control", "no-cache, max-age=5"), ("etag", "\"a\"")],
                (0, 0),
            ),
            (&[("etag", "\"a\"")], (0, 0)),
            (
                &[("cache-control", "max-age=x"), ("last-modified", "?")],
                (0, 0),
            ),
        ] {
            assert_eq!(of(fields), Some(expected), "{fields:?}");
        }
    }

    #[test]
    fn what_is_for_one_or_of_no_use_is_not_kept() {
        for fields in [
            &[][..],
            &[("cache-control", "max-age=600, private")],
            &[
                ("cache-control", "max-age=600"),
                ("cache-control", "No-Store"),
            ],
            &[("cache-control", "private=\"x-a, x-b\", max-age=600")],
            &[("cache-control", "max-age=600"), ("set-cookie", "a=b")],
            &[("cache-control", "max-age=600"), ("vary", "accept, *")],
            &[("cache-control", "max-age=600"), ("age", "600")],
            &[("cache-control", "max-age=-1")],
            &[("cache-control", "no-cache")],
            &[("expires", "0")],
        ] {
            assert_eq!(of(fields), None, "{fields:?}");
        }
    }
}
