//! How wide text is.

/// An upper bound of the width of a text in the common sans-serif fonts, the wide ones included.
pub(super) fn width(text: &str, size: f64) -> f64 {
    text.chars().map(em).sum::<f64>() * size
}

fn em(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | '\'' | '|' | '.' | ',' | ':' | ';' | '!' => 0.36,
        'f' | 't' | 'r' | 'I' | ' ' | '(' | ')' | '[' | ']' | '-' | '/' => 0.44,
        'm' | 'w' | 'M' | 'W' | '@' | '%' | '—' => 1.0,
        '_' => 0.53,
        'A'..='Z' | '+' | '=' | '<' | '>' | '~' | '#' | '×' | '&' => 0.79,
        ' '..='~' | 'µ' => 0.64,
        // Accented letters are no wider than capitals; what is beyond may fill a whole square.
        '\u{a0}'..='\u{52f}' => 0.79,
        _ => 1.05,
    }
}
