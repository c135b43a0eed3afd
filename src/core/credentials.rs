//! login, password → Basic credentials in UTF-8 (RFC 7617), and their removal from foreign text.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::utf8_percent_encode;
use reqwest::header::HeaderValue;

use super::failure::InvalidInput;
use super::operation;

/// What the server itself says of credentials. A password that is one of these words stays unmasked:
/// a gap in a known sentence would tell it.
const DOCUMENTED: [&str; 6] = [
    "Not logged in.",
    "Invalid login or password.",
    "Unauthorized",
    "InvalidCredentials",
    "InvalidContent",
    "ResourceNotFound",
];

/// Shorter passwords occur in any text by chance; masking them would tell more than it hides.
const SHORTEST_MASKED: usize = 4; // bytes of UTF-8

/// A login and what proves it. Has no `Debug` of its secrets.
#[derive(Clone)]
pub struct Credentials {
    login: String,
    password: String,
    authorization: HeaderValue,
}

impl Credentials {
    pub fn new(login: &str, password: &str) -> Result<Self, InvalidInput> {
        // RFC 7617 section 2: a colon would end the login early, controls are not allowed in either.
        if login.contains(':') {
            return Err(InvalidInput::new("login", "must not hold a colon (RFC 7617)"));
        }
        for (argument, value) in [("login", login), ("password", password)] {
            if value.chars().any(char::is_control) {
                return Err(InvalidInput::new(argument, "must not hold control characters (RFC 7617)"));
            }
        }
        let token = STANDARD.encode(format!("{login}:{password}"));
        let mut authorization = HeaderValue::try_from(format!("Basic {token}"))
            .map_err(|_| InvalidInput::new("password", "does not fit into a header"))?;
        authorization.set_sensitive(true);
        Ok(Self { login: login.to_owned(), password: password.to_owned(), authorization })
    }

    pub fn login(&self) -> &str {
        &self.login
    }

    pub fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }

    /// Foreign text without the secrets that a server may echo.
    pub fn mask(&self, text: &str) -> String {
        self.secrets().iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }

    /// The same for text that was cut anywhere, which may end in the beginning of a secret.
    pub fn mask_cut(&self, text: &str) -> String {
        let mut text = self.mask(text);
        let begun = |secret: &String| {
            (1..secret.len()).rev().find(|length| secret.get(..*length).is_some_and(|head| text.ends_with(head)))
        };
        if let Some(length) = self.secrets().iter().filter_map(begun).max() {
            text.truncate(text.len() - length);
            text.push_str("***");
        }
        text
    }

    /// What must not be shown, in the forms in which servers echo; the longest first, as one may hold another.
    fn secrets(&self) -> Vec<String> {
        let token = self.authorization.to_str().ok().and_then(|value| value.strip_prefix("Basic ")).unwrap_or_default();
        let pair = format!("{}:{}", self.login, self.password);
        let is_documented = DOCUMENTED.iter().any(|sentence| sentence.contains(&self.password));
        let password = if is_documented { "" } else { self.password.as_str() };
        // Base64 in its URL alphabet and without its padding too (RFC 4648).
        let unpadded = token.trim_end_matches('=');
        let mut secrets: Vec<String> = [token, unpadded, &pair, password].into_iter().flat_map(disguises).collect();
        secrets.push(unpadded.replace('+', "-").replace('/', "_"));
        secrets.retain(|secret| secret.len() >= SHORTEST_MASKED);
        secrets.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        secrets
    }
}

/// A secret as it stands in JSON, in a URL and in HTML; lower case is what becomes of it in a host name.
fn disguises(secret: &str) -> [String; 6] {
    let json = serde_json::Value::from(secret).to_string();
    let json = json.trim_start_matches('"').strip_suffix('"').unwrap_or_default().to_owned();
    let ascii = json.chars().fold(String::new(), |mut text, c| {
        if c.is_ascii() {
            text.push(c);
        } else {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
        }
        text
    });
    let html = [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&quot;"), ("'", "&#39;")];
    let html = html.iter().fold(secret.to_owned(), |text, (plain, entity)| text.replace(plain, entity));
    let url = utf8_percent_encode(secret, operation::RESERVED).to_string();
    [secret.to_owned(), json, ascii, html, url, secret.to_lowercase()]
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("login", &self.login).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_utf8() {
        // RFC 7617 section 2.1: user "test", password "123£".
        let credentials = Credentials::new("test", "123\u{a3}").unwrap();
        assert_eq!(credentials.authorization(), "Basic dGVzdDoxMjPCow==");
        assert!(Credentials::new("логин", "пароль:с двоеточием").is_ok());
        assert!(Credentials::new("", "").is_ok());
    }

    #[test]
    fn refuses() {
        for (login, password, argument) in [
            ("a:b", "p", "login"),
            ("a\n", "p", "login"),
            ("a", "p\r\nX: y", "password"),
            ("a", "\0", "password"),
            ("a", "\u{85}", "password"),
        ] {
            assert!(
                Credentials::new(login, password)
                    .is_err_and(|e| e.argument == argument && !e.to_string().contains("X:"))
            );
        }
    }

    #[test]
    fn masks() {
        let credentials = Credentials::new("login", "hunter22").unwrap();
        let echo = format!("{} hunter22 login:hunter22", credentials.authorization().to_str().unwrap());
        assert_eq!(credentials.mask(&echo), "Basic *** *** ***");
        assert!(!format!("{credentials:?}").contains("hunter22"));
        assert_eq!(credentials.mask_cut("hunter22hunter22hunt"), "*********");
        let odd = Credentials::new("login", "S\"ё&/@").unwrap();
        let echo = "S\\\"ё&/@ S\\\"\\u0451&/@ S&quot;ё&amp;/@ S%22%D1%91%26%2F%40 s\"ё&/@";
        assert_eq!(odd.mask(echo), "*** *** *** *** ***");
        let plain = Credentials::new("login", "password").unwrap();
        assert_eq!(plain.mask("Invalid login or password."), "Invalid login or password.");
        assert_eq!(plain.mask("login:password"), "***");
    }
}
