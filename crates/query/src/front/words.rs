//! The words of a statement, read one by one.

use datafusion::sql::sqlparser::tokenizer::{Token, Word};

use super::{Fault, State};

/// The fault of words that do not belong together.
pub(super) fn syntax(message: impl Into<String>) -> Fault {
    Fault::new(State::SyntaxError, message)
}

/// The text of tokens as they were written.
pub(super) fn text(tokens: &[Token]) -> String {
    tokens.iter().map(ToString::to_string).collect::<String>().trim().to_owned()
}

/// Reads tokens one by one, white space left out.
#[derive(Clone)]
pub(super) struct Words<'a> {
    tokens: &'a [Token],
}

impl<'a> Words<'a> {
    pub(super) fn new(tokens: &'a [Token]) -> Self {
        Self { tokens }
    }

    pub(super) fn skip(&mut self) {
        while let [Token::Whitespace(_), rest @ ..] = self.tokens {
            self.tokens = rest;
        }
    }

    pub(super) fn peek(&mut self) -> Option<&'a Token> {
        self.skip();
        self.tokens.first()
    }

    pub(super) fn next(&mut self) -> Option<&'a Token> {
        self.skip();
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    /// The next word without quotes, in lower case.
    pub(super) fn peek_word(&mut self) -> Option<String> {
        match self.peek() {
            Some(Token::Word(Word { value, quote_style: None, .. })) => {
                Some(value.to_ascii_lowercase())
            }
            _ => None,
        }
    }

    pub(super) fn eat(&mut self, word: &str) -> bool {
        let found = self.peek_word().as_deref() == Some(word);
        if found {
            self.next();
        }
        found
    }

    pub(super) fn eat_token(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        if found {
            self.next();
        }
        found
    }

    pub(super) fn any_word(mut self, word: &str) -> bool {
        while self.peek().is_some() {
            if self.peek_word().as_deref() == Some(word) {
                return true;
            }
            self.next();
        }
        false
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let Some(Token::Number(digits, _)) = self.peek() else { return None };
        let number = digits.parse().ok();
        self.next();
        number
    }

    /// A name: as written inside quotes, in lower case without.
    pub(super) fn name(&mut self) -> Result<String, Fault> {
        match self.next() {
            Some(Token::Word(Word { value, quote_style: None, .. })) => {
                Ok(value.to_ascii_lowercase())
            }
            Some(Token::Word(word)) => Ok(word.value.replace("\"\"", "\"")),
            Some(other) => Err(syntax(format!("a name is expected, not `{other}`"))),
            None => Err(syntax("a name is missing at the end")),
        }
    }

    pub(super) fn raw_name(&mut self) -> String {
        self.next().map(ToString::to_string).unwrap_or_default()
    }

    pub(super) fn name_or_all(&mut self) -> Result<Option<String>, Fault> {
        if self.eat("all") { Ok(None) } else { self.name().map(Some) }
    }

    /// The rest as a value of a setting: quotes taken off, parts of a list joined by commas.
    pub(super) fn value(&mut self) -> Option<String> {
        let mut value = String::new();
        let mut sign = "";
        while let Some(token) = self.peek() {
            match token {
                Token::SingleQuotedString(text) => value.push_str(&text.replace("''", "'")),
                Token::EscapedStringLiteral(text) => {
                    value.push_str(&text.replace("\\t", "\t").replace("''", "'"));
                }
                Token::Number(digits, _) => {
                    value.push_str(sign);
                    value.push_str(digits);
                }
                Token::Word(word) if word.quote_style.is_none() => {
                    if value.is_empty() && word.value.eq_ignore_ascii_case("default") {
                        self.next();
                        return None;
                    }
                    value.push_str(&word.value);
                }
                Token::Word(word) => value.push_str(&word.value),
                Token::Minus => {
                    sign = "-";
                    self.next();
                    continue;
                }
                _ => break,
            }
            self.next();
            // Only a list goes on, and inside brackets the comma belongs to the options.
            match self.tokens {
                [Token::Comma, ..] if !self.tokens.contains(&Token::RParen) => {
                    self.next();
                    value.push_str(", ");
                }
                _ => break,
            }
        }
        Some(value)
    }

    /// The texts between commas of a pair of brackets, if one is next.
    pub(super) fn brackets(&mut self) -> Option<Vec<String>> {
        if self.peek() != Some(&Token::LParen) {
            return None;
        }
        let mut inside: &[Token] = self.bracket();
        let mut parts = Vec::new();
        let mut depth = 0_usize;
        let mut at = 0;
        while let Some(token) = inside.get(at) {
            match token {
                Token::LParen | Token::LBracket => depth += 1,
                Token::RParen | Token::RBracket => depth = depth.saturating_sub(1),
                Token::Comma if depth == 0 => {
                    parts.push(text(&inside[..at]));
                    inside = &inside[at + 1..];
                    at = 0;
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
        parts.push(text(inside));
        Some(parts)
    }

    /// The text inside a pair of brackets.
    pub(super) fn inside(&mut self) -> String {
        text(self.bracket())
    }

    pub(super) fn bracket(&mut self) -> &'a [Token] {
        self.next();
        let tokens = self.tokens;
        let mut depth = 1_usize;
        for (at, token) in tokens.iter().enumerate() {
            match token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                self.tokens = &tokens[at + 1..];
                return &tokens[..at];
            }
        }
        self.tokens = &[];
        tokens
    }

    pub(super) fn rest(&mut self) -> String {
        text(std::mem::take(&mut self.tokens))
    }
}
