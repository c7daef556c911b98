//! Sizes as people write them.

/// Bytes of `text`: a number, perhaps with K, M, G or T behind it (of 1024 each; `KiB` and `KB` mean the same).
pub fn parse(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = match number {
        "" => return Err("not a size (such as 64M)".into()),
        digits => digits.parse().map_err(|_| "the number is too large".to_string())?,
    };
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(format!("“{unit}” is no unit of size (K, M, G or T)")),
    };
    number.checked_mul(1 << shift).ok_or_else(|| "the size is too large".to_string())
}

/// Bytes for people.
pub fn show(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = (bytes.checked_ilog2().unwrap_or(0) / 10).min(4) as usize;
    let value = bytes as f64 / (1u64 << (10 * unit)) as f64;
    if unit == 0 || value.fract() == 0.0 {
        return format!("{value:.0} {}", UNITS[unit]);
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(parse("64M"), Ok(64 << 20));
        assert_eq!(parse("1gib"), Ok(1 << 30));
        assert_eq!(parse("4096"), Ok(4096));
        for wrong in ["", "M", "-1M", "1.5G", "64Q", "99999999999999999999", "99999999999T"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_shown() {
        assert_eq!(show(0), "0 B");
        assert_eq!(show(1 << 30), "1 GiB");
        assert_eq!(show(18_554_880), "17.7 MiB");
    }
}
