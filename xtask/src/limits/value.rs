//! Numbers as people read them: `256 << 10` bytes are 262,144 (256 KiB).

/// A default as written in the source, with its unit; as it stands where it is no plain product.
pub(super) fn shown(default: &str, unit: &str) -> String {
    let Some(value) = value(default) else {
        return format!("`{default}` {unit}");
    };
    let plain = format!("{} {unit}", grouped(value));
    match other_unit(value, unit) {
        Some(other) => format!("{plain} ({other})"),
        None => plain,
    }
}

/// `1_000`, `15 * 60 * 1_000`, `256 << 10`.
fn value(expression: &str) -> Option<u64> {
    if let Some((left, right)) = expression.split_once("<<") {
        return value(left)?.checked_shl(right.trim().parse().ok()?);
    }
    expression.split('*').try_fold(1_u64, |product, factor| {
        product.checked_mul(factor.trim().replace('_', "").parse().ok()?)
    })
}

/// 1234567 as 1,234,567.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// The largest unit in which it is a whole number, if not its own.
fn other_unit(value: u64, unit: &str) -> Option<String> {
    let units: &[(u64, &str)] = match unit {
        "bytes" => &[(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")],
        "ms" => &[(3_600_000, "h"), (60_000, "min"), (1_000, "s")],
        _ => &[],
    };
    let fits = |size: &u64| value >= *size && value.is_multiple_of(*size);
    units
        .iter()
        .find(|(size, _)| fits(size))
        .map(|(size, name)| format!("{} {name}", grouped(value / size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_as_people_read_them() {
        assert_eq!(shown("256 << 10", "bytes"), "262,144 bytes (256 KiB)");
        assert_eq!(shown("15 * 60 * 1_000", "ms"), "900,000 ms (15 min)");
        assert_eq!(shown("40_000", "ms"), "40,000 ms (40 s)");
        assert_eq!(shown("64", "commands"), "64 commands");
        assert_eq!(shown("1_500", "ms"), "1,500 ms");
        assert_eq!(shown("SOME_CONSTANT", "ms"), "`SOME_CONSTANT` ms");
    }
}
