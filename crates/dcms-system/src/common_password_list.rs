use std::collections::HashSet;
use std::io::Read as _;
use std::sync::LazyLock;

use dcms_domain::identity::{CommonPasswords, Secret};
use dcms_domain::shared::folded_text;
use flate2::read::GzDecoder;

/// The most common passwords of 12 characters or more, from a list that comes with the program;
/// `data/README.md` tells where it is from.
pub struct CommonPasswordList;

impl CommonPasswords for CommonPasswordList {
    fn contains(&self, password: &Secret) -> bool {
        WORDS.contains(folded_text(password.expose()).as_str())
    }
}

static WORDS: LazyLock<HashSet<&str>> = LazyLock::new(|| TEXT.lines().collect());

static TEXT: LazyLock<String> = LazyLock::new(|| {
    let mut text = String::new();
    GzDecoder::new(&include_bytes!("../data/common_passwords.txt.gz")[..])
        .read_to_string(&mut text)
        // It is part of the program: a test unpacks what was built.
        .expect("the list is whole");
    text
});

#[cfg(test)]
mod tests {
    use dcms_domain::identity::{MAX_PASSWORD_CHARS, MIN_PASSWORD_CHARS};

    use super::*;

    fn is_common(password: &str) -> bool {
        CommonPasswordList.contains(&Secret::new(password.to_owned()))
    }

    #[test]
    fn what_everybody_has_is_common() {
        for password in [
            "password1234",
            "passwordpassword",
            "123456789012",
            "111111111111",
            "qwertyuiop123",
            "administrator",
            "iloveyou1234",
            "PassWord1234",
            "ｐａｓｓｗｏｒｄ１２３４",
        ] {
            assert!(is_common(password), "{password}");
        }
    }

    #[test]
    fn a_phrase_of_ones_own_is_not() {
        for password in [
            "a password for tests",
            "correct horse battery",
            "dcms-dev-password",
            "a-long-first-password",
            "another-long-password",
            "",
        ] {
            assert!(!is_common(password), "{password}");
        }
    }

    #[test]
    fn every_line_can_be_met() {
        let lines: Vec<&str> = TEXT.lines().collect();
        assert!(lines.len() > 40_000);
        assert!(lines.is_sorted(), "a diff of two lists is easy to read");
        for line in lines {
            assert_eq!(folded_text(line), line);
            assert!((MIN_PASSWORD_CHARS..=MAX_PASSWORD_CHARS).contains(&line.chars().count()));
        }
    }
}
