//! Names of functions, states and side outputs.

/// Converts an identifier to kebab-case: `CountFlights` to `count-flights`, `HTTPParser` to `http-parser`, `last_delays` to
/// `last-delays`.
pub fn kebab_case(name: &str) -> String {
    let letters: Vec<char> = name.trim_start_matches("r#").chars().collect();
    let mut kebab = String::new();
    for (i, &letter) in letters.iter().enumerate() {
        let before = i.checked_sub(1).map(|i| letters[i]);
        let begins_word = letter.is_uppercase()
            && before.is_some_and(|before| {
                !before.is_uppercase() || letters.get(i + 1).is_some_and(|next| next.is_lowercase())
            });
        match letter {
            '_' => kebab.push('-'),
            _ => {
                if begins_word && before != Some('_') {
                    kebab.push('-');
                }
                kebab.extend(letter.to_lowercase());
            }
        }
    }
    kebab
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kebab_case() {
        for (name, kebab) in [
            ("Track", "track"),
            ("CountFlights", "count-flights"),
            ("HTTPParser", "http-parser"),
            ("A1B", "a1-b"),
            ("last_delays", "last-delays"),
            ("r#type", "type"),
        ] {
            assert_eq!(kebab_case(name), kebab);
        }
    }
}
