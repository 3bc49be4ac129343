//! Bytes as hexadecimal digits.

/// Why digits are no bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HexError {
    /// Something else stands there.
    #[error("'{0}' is no hexadecimal digit")]
    Digit(char),
    /// The last byte has one digit.
    #[error("an odd number of digits: {0}")]
    Odd(usize),
    /// Nothing is there.
    #[error("no digits")]
    Empty,
}

/// Reads digits; white space and colons between them count for nothing.
///
/// # Errors
/// Other characters, half a byte, nothing.
pub fn read(text: &str) -> Result<Vec<u8>, HexError> {
    let text = text.trim();
    let digits = text.strip_prefix("0x").unwrap_or(text).chars().filter(|c| !c.is_whitespace() && *c != ':');
    let digits = digits
        .map(|c| c.to_digit(16).map(|digit| digit as u8).ok_or(HexError::Digit(c)))
        .collect::<Result<Vec<u8>, _>>()?;
    match digits.len() {
        0 => Err(HexError::Empty),
        odd if odd % 2 != 0 => Err(HexError::Odd(odd)),
        _ => Ok(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()),
    }
}

/// The digits of `bytes`.
pub fn write(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_as_they_are_copied() {
        for text in ["4500abCD", "45 00\nab cd", "0x4500abcd", " 45:00:ab:cd "] {
            assert_eq!(read(text), Ok(vec![0x45, 0, 0xab, 0xcd]), "{text}");
        }
        assert_eq!(read(&write(&[0, 0x0f, 0xf0])), Ok(vec![0, 0x0f, 0xf0]));
    }

    #[test]
    fn what_is_no_byte_is_refused() {
        assert_eq!(read("450g"), Err(HexError::Digit('g')));
        assert_eq!(read("450"), Err(HexError::Odd(3)));
        assert_eq!(read("0x"), Err(HexError::Empty));
        assert_eq!(read("4é"), Err(HexError::Digit('é')));
    }
}
