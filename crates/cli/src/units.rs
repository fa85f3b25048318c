//! Numbers as people read them.

/// `0 B`, `999 B`, `1.2 kB`, `34 MB`: decimal units.
pub(crate) fn bytes(count: u64) -> String {
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64;
    let mut unit = "B";
    for next in ["kB", "MB", "GB", "TB", "PB", "EB"] {
        // 999.95 would be shown as 1000.0.
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    if value < 9.95 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

/// `12 ms`, `1.2 s`, `3 min 4 s`, `5 h 6 min`.
pub(crate) fn milliseconds(count: u64) -> String {
    let seconds = count / 1000;
    match count {
        0..1000 => format!("{count} ms"),
        1000..60_000 => format!("{}.{} s", seconds, count % 1000 / 100),
        60_000..3_600_000 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// `$0.000325`, `$0.0123`, `$12.30`: never fewer than two places, and what is small in full.
pub(crate) fn dollars(micro_usd: u64) -> String {
    let (whole, millionths) = (micro_usd / 1_000_000, micro_usd % 1_000_000);
    let places = match micro_usd {
        0 => 2,
        1..10_000 => 6,
        10_000..1_000_000 => 4,
        _ => 2,
    };
    let unit = 10_u64.pow(6 - places);
    let rounded = (millionths + unit / 2) / unit;
    let carry = u64::from(rounded == 10_u64.pow(places));
    let fraction = rounded % 10_u64.pow(places);
    format!(
        "${}.{fraction:0width$}",
        whole + carry,
        width = places as usize
    )
}

/// `1 record`, `2 records`.
pub(crate) fn count(number: u64, one: &str) -> String {
    if number == 1 {
        format!("1 {one}")
    } else {
        format!("{number} {one}s")
    }
}

/// A program and its arguments in one line, quoted where a shell would need it.
pub(crate) fn command(argv: &[String]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,".contains(c);
    let quoted: Vec<_> = argv
        .iter()
        .map(|word| match word {
            word if !word.is_empty() && word.chars().all(plain) => word.clone(),
            word => format!("'{}'", word.replace('\'', r"'\''")),
        })
        .collect();
    quoted.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_quoted_where_needed() {
        let argv = ["sh", "-c", "echo 'a b'", "", "--x=1"].map(str::to_owned);
        assert_eq!(command(&argv), r"sh -c 'echo '\''a b'\''' '' --x=1");
    }

    #[test]
    fn bytes_are_short() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1234, "1.2 kB"),
            (9_949, "9.9 kB"),
            (9_951, "10 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"),
            (64 * 1024 * 1024, "67 MB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn durations_are_short() {
        for (count, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1250, "1.2 s"),
            (59_999, "59.9 s"),
            (184_000, "3 min 4 s"),
            (18_360_000, "5 h 6 min"),
        ] {
            assert_eq!(milliseconds(count), text);
        }
    }

    #[test]
    fn dollars_are_as_exact_as_they_need_to_be() {
        for (micro_usd, text) in [
            (0, "$0.00"),
            (325, "$0.000325"),
            (12_345, "$0.0123"),
            (999_999, "$1.0000"),
            (1_000_000, "$1.00"),
            (12_304_999, "$12.30"),
            (12_995_000, "$13.00"),
        ] {
            assert_eq!(dollars(micro_usd), text, "{micro_usd}");
        }
    }
}
