//! login, password → Basic credentials in UTF-8 (RFC 7617).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;

use super::failure::InvalidInput;
use super::mask::{self, SHORTEST_MASKED};

const SCHEME: &str = "Basic ";

/// What the server itself says of credentials. A password that is one of these words stays unmasked: a gap in a known
/// sentence would tell it.
const DOCUMENTED: [&str; 6] = [
    "Not logged in.", "Invalid login or password.", "Unauthorized", "InvalidCredentials", "InvalidContent",
    "ResourceNotFound",
];

/// A login and what proves it. `Debug` shows no secret.
#[derive(Clone)]
pub struct Credentials {
    login: String,
    password: String,
    authorization: HeaderValue,
}

impl Credentials {
    pub fn new(login: impl Into<String>, password: impl Into<String>) -> Result<Self, InvalidInput> {
        let (login, password) = (login.into(), password.into());
        // RFC 7617 section 2: a colon ends the login, and controls are not allowed.
        if login.contains(':') {
            return Err(InvalidInput::new("login", "must not hold a colon (RFC 7617)"));
        }
        for (argument, value) in [("login", &login), ("password", &password)] {
            if value.chars().any(char::is_control) {
                return Err(InvalidInput::new(argument, "must not hold control characters (RFC 7617)"));
            }
        }
        let mut authorization = SCHEME.to_owned();
        STANDARD.encode_string([login.as_str(), ":", &password].concat(), &mut authorization);
        let mut authorization = HeaderValue::try_from(authorization)
            .map_err(|_| InvalidInput::new("password", "does not fit into a header"))?;
        authorization.set_sensitive(true);
        Ok(Self { login, password, authorization })
    }

    pub fn login(&self) -> &str {
        &self.login
    }

    pub fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }

    /// What foreign text may echo.
    pub fn secrets(&self) -> Vec<String> {
        secrets(&self.login, &self.password)
    }
}

/// What proves a login, and what servers make of it.
pub fn secrets(login: &str, password: &str) -> Vec<String> {
    let pair = format!("{login}:{password}");
    let is_documented = DOCUMENTED.iter().any(|sentence| mask::holds(sentence, password));
    let mut all = tokens(&pair);
    if password.len() >= SHORTEST_MASKED {
        all.extend(tokens(password));
    }
    for secret in [pair.as_str(), if is_documented { "" } else { password }] {
        all.push(secret.to_owned());
        // Servers may take the bytes of a login for Latin-1 (RFC 7617 section 2.1 fixes no charset).
        all.push(secret.bytes().map(char::from).collect());
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// Base64, also without its padding and in its URL alphabet (RFC 4648).
fn tokens(text: &str) -> Vec<String> {
    let token = STANDARD.encode(text);
    let unpadded = token.trim_end_matches('=').to_owned();
    let url_safe = unpadded.replace('+', "-").replace('/', "_");
    vec![token, unpadded, url_safe]
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("login", &self.login).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::mask::Masks;
    use super::*;

    #[test]
    fn masks() {
        let masks = |password| Masks::new(&secrets("login", password));
        let credentials = Credentials::new("login", "hunter22").unwrap();
        let echo = format!("{} hunter22 login:hunter22", credentials.authorization().to_str().unwrap());
        assert_eq!(Masks::new(&credentials.secrets()).mask(&echo), "Basic *** *** ***");
        assert!(!format!("{credentials:?}").contains("hunter22"));
        assert_eq!(masks("hunter22").mask_cut("hunter22hunter22hunt"), "*********");
        let odd = masks("S\"ё&/@");
        let echo = "S\\\"ё&/@ S\\\"\\u0451&/@ S&quot;ё&amp;/@ S%22%D1%91%26%2F%40 s\"ё&/@";
        assert_eq!(odd.mask(echo), "*** *** *** *** ***");
        assert_eq!(
            odd.mask("S\\\\\\\"ё&/@ S%2522%25D1%2591%2526%252f%2540 UyLRkSYvQA== UyLRkSYvQA S\"Ñ\u{91}&/@"),
            "*** *** *** *** ***"
        );
        assert_eq!(masks("password").mask("Invalid login or password."), "Invalid login or password.");
        assert_eq!(masks("password").mask("login:password"), "***");
        let sentence = "Invalid login or password: login:Password";
        assert_eq!(masks("Password").mask(sentence), "Invalid login or password: ***");
    }
}
