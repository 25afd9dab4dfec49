//! Statements of a text that comes line by line, as people type and scripts pipe it.
//!
//! Knows of SQL only where a semicolon ends nothing: in quotes, comments and dollar quotes.
//! Everything else, mistakes among it, is left to the gateway. Each character is looked at once.

/// Longest statement; the gateway takes far less.
pub const STATEMENT_BYTES: usize = 4 << 20;

/// A statement that does not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a statement does not end within {STATEMENT_BYTES} bytes")]
pub struct TooLong;

/// What the next character stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Within {
    Nothing,
    /// `'` or `"`.
    Quote(u8),
    /// `E'`, where a backslash hides what follows.
    Escapes,
    /// `$tag$`, with its dollars.
    Dollars(Vec<u8>),
    /// `--` to the end of the line.
    Line,
    /// `/*`, so many deep.
    Block(u32),
}

/// Cuts a text into statements.
#[derive(Debug)]
pub struct Splitter {
    text: String,
    /// Looked at so far.
    at: usize,
    within: Within,
    /// Whether there is anything but white space and comments.
    filled: bool,
}

impl Default for Splitter {
    fn default() -> Self {
        Self { text: String::new(), at: 0, within: Within::Nothing, filled: false }
    }
}

impl Splitter {
    /// Adds text, and returns the statements that ended in it, without their semicolons. A line is
    /// given with its line end, which is what ends a comment.
    ///
    /// # Errors
    /// A statement passes [`STATEMENT_BYTES`].
    pub fn push(&mut self, text: &str) -> Result<Vec<String>, TooLong> {
        if self.text.len() + text.len() > STATEMENT_BYTES {
            *self = Self::default();
            return Err(TooLong);
        }
        self.text.push_str(text);
        let mut statements = Vec::new();
        let mut start = 0;
        while self.at < self.text.len() {
            if self.within == Within::Nothing && self.text.as_bytes()[self.at] == b';' {
                if std::mem::take(&mut self.filled) {
                    statements.push(self.text[start..self.at].trim().to_owned());
                }
                self.at += 1;
                start = self.at;
            } else {
                self.step();
            }
        }
        self.text.drain(..start);
        self.at -= start;
        Ok(statements)
    }

    /// Whether a statement was begun and did not end.
    #[must_use]
    pub fn pending(&self) -> bool {
        self.filled || matches!(self.within, Within::Block(_))
    }

    /// What is left when there is no more text: a last statement may go without its semicolon.
    pub fn finish(&mut self) -> Option<String> {
        let left = std::mem::take(self);
        left.filled.then(|| left.text.trim().to_owned())
    }

    /// Looks at the next character, or at a few that belong together.
    fn step(&mut self) {
        let bytes = self.text.as_bytes();
        let rest = &bytes[self.at..];
        let byte = rest[0];
        let mut length = 1;
        match &mut self.within {
            Within::Nothing => {
                let (within, taken) = opened(bytes, self.at);
                let comment = matches!(within, Within::Line | Within::Block(_));
                self.filled |= !comment && !byte.is_ascii_whitespace();
                self.within = within;
                length = taken;
            }
            // A doubled quote closes and opens again, which comes to the same.
            Within::Quote(quote) if byte == *quote => self.within = Within::Nothing,
            Within::Escapes if byte == b'\\' => length = 2,
            Within::Escapes if byte == b'\'' => self.within = Within::Nothing,
            Within::Dollars(tag) if rest.starts_with(tag) => {
                length = tag.len();
                self.within = Within::Nothing;
            }
            Within::Line if byte == b'\n' => self.within = Within::Nothing,
            Within::Block(depth) if rest.starts_with(b"/*") => {
                *depth += 1;
                length = 2;
            }
            Within::Block(depth) if rest.starts_with(b"*/") => {
                *depth -= 1;
                length = 2;
                if *depth == 0 {
                    self.within = Within::Nothing;
                }
            }
            _ => {}
        }
        self.at = (self.at + length).min(self.text.len());
    }
}

/// What a character opens, and how many belong to the opening.
fn opened(bytes: &[u8], at: usize) -> (Within, usize) {
    let rest = &bytes[at..];
    let before = at.checked_sub(1).map(|before| bytes[before]);
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii();
    match rest[0] {
        b'\'' if matches!(before, Some(b'e' | b'E')) => {
            // Only when that letter is a word of its own.
            let earlier = at.checked_sub(2).map(|earlier| bytes[earlier]);
            let alone = !earlier.is_some_and(word);
            (if alone { Within::Escapes } else { Within::Quote(b'\'') }, 1)
        }
        quote @ (b'\'' | b'"') => (Within::Quote(quote), 1),
        b'-' if rest.starts_with(b"--") => (Within::Line, 2),
        b'/' if rest.starts_with(b"/*") => (Within::Block(1), 2),
        b'$' if !before.is_some_and(word) => {
            let name = rest[1..].iter().take_while(|byte| word(**byte)).count();
            let digit = rest.get(1).is_some_and(u8::is_ascii_digit);
            match rest.get(name + 1) {
                Some(b'$') if !digit => (Within::Dollars(rest[..name + 2].to_vec()), name + 2),
                _ => (Within::Nothing, 1),
            }
        }
        _ => (Within::Nothing, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str], left: Option<&str>) {
        let mut whole = Splitter::default();
        assert_eq!(whole.push(text).unwrap(), expected, "{text}");
        assert_eq!(whole.finish().as_deref(), left, "{text}");
        let mut lines = Splitter::default();
        let pushed = text.split_inclusive('\n').map(|line| lines.push(line).unwrap());
        assert_eq!(pushed.collect::<Vec<_>>().concat(), expected, "{text} by lines");
        assert_eq!(lines.finish().as_deref(), left, "{text} by lines");
    }

    #[test]
    fn statements_end_with_a_semicolon_that_is_one() {
        check("select 1;", &["select 1"], None);
        check("select 1; select 2", &["select 1"], Some("select 2"));
        check(" ;\n; -- nothing\n /* at; all */", &[], None);
        check("select ';''; ', \"a;\"\"b\";x;", &["select ';''; ', \"a;\"\"b\"", "x"], None);
        check("select 1 -- it's; so\n, 2;", &["select 1 -- it's; so\n, 2"], None);
        check("/* ; /* ; */ ; */ select 1;", &["/* ; /* ; */ ; */ select 1"], None);
        check("select $$;'$$; y;", &["select $$;'$$", "y"], None);
        check("select $a$;$b$;$a$;", &["select $a$;$b$;$a$"], None);
        check("select $1; select a$b$c;", &["select $1", "select a$b$c"], None);
        check("select E'\\';', e'\\\\';z;", &["select E'\\';', e'\\\\'", "z"], None);
        check("select like'\\';z;", &["select like'\\'", "z"], None);
        check("select 'ä;€';", &["select 'ä;€'"], None);
        check("select 'open;", &[], Some("select 'open;"));
    }

    #[test]
    fn what_is_pending_is_known_and_bounded() {
        let mut splitter = Splitter::default();
        splitter.push("  -- nothing yet\n").unwrap();
        assert!(!splitter.pending());
        splitter.push("/* a comment\n").unwrap();
        assert!(splitter.pending());
        splitter.push("*/ select\n").unwrap();
        assert!(splitter.pending());
        splitter.push("1;\n").unwrap();
        assert!(!splitter.pending());
        assert_eq!(splitter.push(&"x".repeat(STATEMENT_BYTES + 1)), Err(TooLong));
        assert_eq!(splitter.push("select 2;"), Ok(vec!["select 2".to_owned()]));
    }
}
