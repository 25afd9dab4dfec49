//! The text of a message, measured before anything parses it.
//!
//! Parsing and planning recurse: a chain of thousands of operators is a tree as deep, and the time
//! to plan it grows with its square. This pass is one loop over tokens, with a stack of one counter
//! per open bracket.

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer, Word};

use super::Limits;
use crate::front::{Fault, State};

/// The statements of a text, each as its tokens, white space among them, without the semicolon.
/// Empty ones are left out.
///
/// # Errors
/// Text that is no SQL, or that passes a limit.
pub fn statements(text: &str, limits: &Limits) -> Result<Vec<Vec<Token>>, Fault> {
    if text.len() > limits.text_bytes {
        return Err(over("text", limits.text_bytes, "bytes"));
    }
    // Quotes stay as they are written, so that a statement can be put together again.
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, text)
        .with_unescape(false)
        .tokenize()
        .map_err(|error| Fault::new(State::SyntaxError, error.to_string()))?;
    let mut statements = vec![Vec::new()];
    let mut count = 0;
    for token in tokens {
        match token {
            Token::SemiColon => statements.push(Vec::new()),
            Token::EOF => {}
            token => {
                if !matches!(token, Token::Whitespace(_)) {
                    count += 1;
                }
                if let Some(last) = statements.last_mut() {
                    last.push(token);
                }
            }
        }
        if count > limits.tokens {
            return Err(over("tokens", limits.tokens, "tokens"));
        }
    }
    statements.retain(|tokens| tokens.iter().any(|t| !matches!(t, Token::Whitespace(_))));
    for statement in &statements {
        measure(statement, limits)?;
    }
    Ok(statements)
}

/// Counters of one open bracket.
#[derive(Default)]
struct Level {
    chain: usize,
    list: usize,
    /// Calls and arrays around it.
    calls: usize,
}

impl Level {
    fn within(calls: usize) -> Self {
        Self { calls, ..Self::default() }
    }
}

fn measure(tokens: &[Token], limits: &Limits) -> Result<(), Fault> {
    let mut levels = vec![Level::default()];
    let mut arms = 0;
    let mut before: Option<&Token> = None;
    let mut tokens =
        tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))).peekable();
    while let Some(token) = tokens.next() {
        let Some(level) = levels.last_mut() else { break };
        let calls = level.calls;
        match token {
            Token::LParen => {
                let call = before.is_some_and(names_a_call);
                levels.push(Level::within(calls + usize::from(call)));
            }
            Token::LBracket => levels.push(Level::within(calls + 1)),
            Token::LBrace => levels.push(Level::within(calls)),
            Token::RParen | Token::RBracket | Token::RBrace => close(&mut levels),
            Token::Comma => {
                level.list += 1;
                level.chain = 0;
            }
            Token::Word(word) if speaks(word, before) => match word.keyword {
                Keyword::CASE => levels.push(Level::within(calls)),
                Keyword::END => close(&mut levels),
                Keyword::SELECT | Keyword::FROM | Keyword::WHERE | Keyword::VALUES => {
                    *level = Level::within(calls);
                }
                Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT | Keyword::JOIN => {
                    arms += 1;
                    *level = Level::within(calls);
                }
                Keyword::AND
                | Keyword::OR
                | Keyword::NOT
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::BETWEEN
                | Keyword::IN
                | Keyword::IS
                | Keyword::WHEN => level.chain += 1,
                Keyword::AS => arms += usize::from(tokens.peek().is_some_and(|next| part(next))),
                _ => {}
            },
            // Its planning grows with the cube of its length.
            Token::StringConcat => level.chain += 3,
            token if operator(token) => level.chain += 1,
            _ => {}
        }
        before = Some(token);
        let last = levels.last().map_or((0, 0), |level| (level.chain, level.list));
        if levels.last().is_some_and(|level| level.calls > limits.calls) {
            return Err(over("calls", limits.calls, "calls and arrays within one another"));
        }
        if levels.len() > limits.nesting + 1 {
            return Err(over("nesting", limits.nesting, "open brackets"));
        }
        if last.0 > limits.chain {
            return Err(over("chain", limits.chain, "operators in a row"));
        }
        if last.1 >= limits.projections {
            return Err(over("list", limits.projections, "expressions in one list"));
        }
    }
    if arms > limits.arms {
        return Err(over("arms", limits.arms, "parts of WITH, UNION and JOIN"));
    }
    Ok(())
}

/// Whether a word may be one of the language: in quotes and behind a period any is a name.
fn speaks(word: &Word, before: Option<&Token>) -> bool {
    word.quote_style.is_none() && !matches!(before, Some(Token::Period))
}

/// Whether what follows AS opens a part of WITH; an alias never starts so.
fn part(token: &Token) -> bool {
    match token {
        Token::LParen => true,
        Token::Word(word) => matches!(word.keyword, Keyword::NOT | Keyword::MATERIALIZED),
        _ => false,
    }
}

/// Whether a bracket after it holds arguments. Taking some other word for a name is of no harm.
fn names_a_call(token: &Token) -> bool {
    let Token::Word(word) = token else { return false };
    !matches!(
        word.keyword,
        Keyword::ALL
            | Keyword::AND
            | Keyword::ANY
            | Keyword::AS
            | Keyword::BETWEEN
            | Keyword::BY
            | Keyword::ELSE
            | Keyword::EXCEPT
            | Keyword::EXISTS
            | Keyword::FROM
            | Keyword::HAVING
            | Keyword::IN
            | Keyword::INTERSECT
            | Keyword::JOIN
            | Keyword::LATERAL
            | Keyword::LIKE
            | Keyword::NOT
            | Keyword::ON
            | Keyword::OR
            | Keyword::SELECT
            | Keyword::THEN
            | Keyword::UNION
            | Keyword::USING
            | Keyword::VALUES
            | Keyword::WHEN
            | Keyword::WHERE
    )
}

fn close(levels: &mut Vec<Level>) {
    if levels.len() > 1 {
        levels.pop();
    }
}

fn operator(token: &Token) -> bool {
    !matches!(
        token,
        Token::Word(_)
            | Token::Number(..)
            | Token::Char(_)
            | Token::SingleQuotedString(_)
            | Token::DollarQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::NationalStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::HexStringLiteral(_)
            | Token::Placeholder(_)
            | Token::Whitespace(_)
            | Token::Period
            | Token::EOF
    )
}

/// The fault of a limit that was passed.
pub fn over(limit: &str, most: usize, of: &str) -> Fault {
    Fault::limit(format!("statement passes the limit `{limit}`: at most {most} {of}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, limit: Option<&str>) {
        let found = statements(text, &Limits::default()).err().map(|fault| fault.message);
        match limit {
            None => assert_eq!(found, None, "{}", &text[..text.len().min(80)]),
            Some(limit) => {
                let found = found.unwrap_or_default();
                assert!(found.contains(&format!("`{limit}`")), "{limit}: {found}");
            }
        }
    }

    #[test]
    fn limits_of_the_text() {
        check("select 1; ; select 'a;b'", None);
        check(&format!("select '{}'", "x".repeat(1 << 16)), Some("text"));
        check(&format!("select {}", "1,".repeat(1_500)), Some("list"));
        check(&format!("select 1{}", " 1".repeat(5_000)), Some("tokens"));
        check(&format!("select {}1{}", "(".repeat(51), ")".repeat(51)), Some("nesting"));
        check(&format!("select {}1{}", "(".repeat(50), ")".repeat(50)), None);
        check(&format!("select {}1{}", "abs(".repeat(13), ")".repeat(13)), Some("calls"));
        check(&format!("select {}1{}", "array[".repeat(13), "]".repeat(13)), Some("calls"));
        check(&format!("select {}1{}", "abs((".repeat(12), "))".repeat(12)), None);
        check(&format!("select {}1", "1+".repeat(501)), Some("chain"));
        check(&format!("select {}'b'", "'a'||".repeat(167)), Some("chain"));
        check(&format!("select 1 where {}true", "a = 0 or ".repeat(300)), Some("chain"));
        check(&format!("select {}true", "not ".repeat(501)), Some("chain"));
        check(&format!("select 1{}", " union select 1".repeat(65)), Some("arms"));
        check(&format!("select 1 as a{}", ", 1 as b".repeat(900)), None);
        let parts: Vec<_> = (0..70).map(|n| format!("a{n} as (select 1)")).collect();
        check(&format!("with {} select 1", parts.join(", ")), Some("arms"));
        let cases = format!("select {}1{}", "case when true then ".repeat(60), " end".repeat(60));
        check(&cases, Some("nesting"));
    }

    #[test]
    fn statements_are_put_together_again() {
        let text = "select 'it''s', $1 -- c\n; select \"a\"\"b\"";
        let found = statements(text, &Limits::default()).unwrap();
        let joined: Vec<String> =
            found.iter().map(|tokens| tokens.iter().map(ToString::to_string).collect()).collect();
        assert_eq!(joined, ["select 'it''s', $1 -- c\n", " select \"a\"\"b\""]);
    }
}
