//! What a password may be.

use std::sync::Arc;

use super::Secret;
use crate::shared::{FaultCode, Faults, folded_text};

/// The fewest characters of a password, in Unicode's composed form.
pub const MIN_PASSWORD_CHARS: usize = 12;
/// The most characters of a password, in Unicode's composed form.
pub const MAX_PASSWORD_CHARS: usize = 128;
/// The fewest characters of a name that no password may contain. Shorter ones stand in good
/// passwords by chance: whoever is called Al would be refused everything that is natural.
pub const MIN_NAME_CHARS: usize = 3;

/// Knows the passwords that everybody has.
pub trait CommonPasswords: Send + Sync {
    /// Whether the password is among them, blind to case and Unicode form.
    fn contains(&self, password: &Secret) -> bool;
}

/// Which passwords can be set. There are no rules of composition: length and rarity are what makes
/// a password strong.
#[derive(Clone)]
pub struct PasswordPolicy {
    common: Arc<dyn CommonPasswords>,
    published: Vec<Secret>,
}

impl PasswordPolicy {
    /// A policy that refuses the common passwords and these published defaults.
    #[must_use]
    pub fn new(common: Arc<dyn CommonPasswords>, published: &[Secret]) -> Self {
        let published = published.iter().map(Secret::normalized).collect();
        Self { common, published }
    }

    /// Whether the password is a published default: such a one can neither be set nor be logged in
    /// with.
    #[must_use]
    pub fn is_published(&self, password: &Secret) -> bool {
        self.published.contains(&password.normalized())
    }

    /// Notes everything that is wrong with a password that is to be set for the user of that name.
    pub fn check(
        &self,
        password: &Secret,
        username: &str,
        clinic_name: &str,
        pointer: &str,
        faults: &mut Faults,
    ) {
        let password = password.normalized();
        let chars = password.expose().chars().count();
        if chars < MIN_PASSWORD_CHARS {
            let detail = format!("must have at least {MIN_PASSWORD_CHARS} characters");
            faults.add(pointer, FaultCode::TooShort, detail);
        }
        if chars > MAX_PASSWORD_CHARS {
            let detail = format!("must have at most {MAX_PASSWORD_CHARS} characters");
            faults.add(pointer, FaultCode::TooLong, detail);
        }
        if self.is_published(&password) {
            let detail = "is a published default; choose another";
            faults.add(pointer, FaultCode::NotAvailable, detail);
        }
        if self.common.contains(&password) {
            let detail = "is one of the passwords that are tried first; choose a rarer one";
            faults.add(pointer, FaultCode::NotAvailable, detail);
        }
        if contains_name(&password, username) {
            let detail = "must not contain the user's name";
            faults.add(pointer, FaultCode::Conflicting, detail);
        }
        if contains_name(&password, clinic_name) {
            let detail = "must not contain the clinic's name";
            faults.add(pointer, FaultCode::Conflicting, detail);
        }
    }
}

/// Whether the name stands in the password, with its spaces or without.
fn contains_name(password: &Secret, name: &str) -> bool {
    let unspaced = |text: &str| -> String { text.split_whitespace().collect() };
    let name = unspaced(&folded_text(name));
    name.chars().count() >= MIN_NAME_CHARS
        && unspaced(&folded_text(password.expose())).contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Knows what it was made of.
    struct Common(&'static str);

    impl CommonPasswords for Common {
        fn contains(&self, password: &Secret) -> bool {
            password.expose() == self.0
        }
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[track_caller]
    fn assert_refused(password: &str, expected: &[FaultCode]) {
        let policy = PasswordPolicy::new(
            Arc::new(Common("caf\u{e9} caf\u{e9} caf\u{e9}")),
            &[secret("a published pass\u{e9}")],
        );
        let mut faults = Faults::new();
        policy.check(
            &secret(password),
            "Zoë.Weiß",
            "Lindenhof Dental",
            "/password",
            &mut faults,
        );
        let codes: Vec<FaultCode> = faults.as_slice().iter().map(|fault| fault.code).collect();
        assert_eq!(codes, expected, "{password}");
        for fault in faults.as_slice() {
            assert_eq!(fault.pointer, "/password");
            let repeats = !password.is_empty() && fault.detail.contains(password);
            assert!(!repeats, "{password}");
        }
    }

    #[test]
    fn characters_are_counted_composed() {
        use FaultCode::{TooLong, TooShort};
        assert_refused(&"x".repeat(11), &[TooShort]);
        assert_refused(&"x".repeat(12), &[]);
        assert_refused(&"x".repeat(128), &[]);
        assert_refused(&"x".repeat(129), &[TooLong]);
        assert_refused(&"e\u{301}".repeat(11), &[TooShort]);
        assert_refused(&"e\u{301}".repeat(128), &[]);
        assert_refused(&"🦷".repeat(12), &[]);
        assert_refused("", &[TooShort]);
    }

    #[test]
    fn common_and_published_ones_are_refused_in_any_unicode_form() {
        use FaultCode::NotAvailable;
        assert_refused("cafe\u{301} cafe\u{301} cafe\u{301}", &[NotAvailable]);
        assert_refused("a published passe\u{301}", &[NotAvailable]);
        assert_refused("a published pass\u{e9}", &[NotAvailable]);
    }

    #[test]
    fn names_are_refused_in_any_case_and_unicode_form() {
        use FaultCode::Conflicting;
        assert_refused("zoe\u{308}.weiss and more", &[Conflicting]);
        assert_refused("2026 ZOË.WEISS", &[Conflicting]);
        assert_refused("my LINDENHOF dental", &[Conflicting]);
        assert_refused("lindenhofdental2026", &[Conflicting]);
        assert_refused("lindenhof rental", &[]);
        assert_refused("zoe.weiss and more", &[]);
    }

    #[test]
    fn all_faults_are_told_at_once() {
        use FaultCode::{Conflicting, TooLong};
        let password = format!("zoë.weiß lindenhof dental{}", "x".repeat(128));
        assert_refused(&password, &[TooLong, Conflicting, Conflicting]);
    }

    #[test]
    fn names_that_are_too_short_are_not_looked_for() {
        for (name, is_contained) in [("", false), ("a", false), ("a l", false), ("alm", true)] {
            let password = secret("a calm password");
            assert_eq!(contains_name(&password, name), is_contained, "{name:?}");
        }
    }

    #[test]
    fn what_is_hashed_is_the_composed_form() {
        assert!(secret("cafe\u{301}").normalized() == secret("caf\u{e9}"));
        assert!(secret("caf\u{e9}").normalized() == secret("caf\u{e9}"));
        assert!(secret("Ａ ﬁ").normalized() == secret("Ａ ﬁ"));
    }
}
