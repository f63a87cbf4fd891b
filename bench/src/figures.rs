//! Figures as a table shows them.

/// Of an even number, the lower one of the middle two, so that it is a value that was measured.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}

/// `64 B`, `16 KiB`.
pub(crate) fn size(bytes: usize) -> String {
    if bytes > 0 && bytes.is_multiple_of(1024) {
        format!("{} KiB", bytes / 1024)
    } else {
        format!("{bytes} B")
    }
}

/// Three or more digits: `950`, `236k`, `2.60M`.
pub(crate) fn count(value: f64) -> String {
    match value {
        0.0..1e4 => format!("{value:.0}"),
        1e4..1e5 => format!("{:.1}k", value / 1e3),
        1e5..1e6 => format!("{:.0}k", value / 1e3),
        _ => format!("{:.2}M", value / 1e6),
    }
}

pub(crate) fn micros(value: f64) -> String {
    if value < 1e4 { format!("{value:.0} µs") } else { format!("{:.1} ms", value / 1e3) }
}

pub(crate) fn kibibytes(bytes: f64) -> String {
    format!("{:.1}", bytes / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_a_value_that_was_measured() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.0);
        assert_eq!(median(vec![5.0]), 5.0);
    }

    #[test]
    fn figures_are_printed_with_three_digits_and_a_unit() {
        assert_eq!([950.0, 23_600.0, 236_400.0, 2_600_000.0].map(count), ["950", "23.6k", "236k", "2.60M"]);
        assert_eq!([64, 16_384, 0, 1000].map(size), ["64 B", "16 KiB", "0 B", "1000 B"]);
        assert_eq!([12.4, 15_000.0].map(micros), ["12 µs", "15.0 ms"]);
    }
}
