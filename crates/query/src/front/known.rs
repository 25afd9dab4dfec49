//! Parts of queries that clients send word for word, and what is asked instead.
//!
//! A client that follows types by recursion, or takes the search path apart by its characters, asks
//! for what a planner without recursion cannot tell, and the answer here is simple. Queries are
//! compared token by token, so that white space and the case of words do not matter.

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

/// Something that clients send.
struct Known {
    /// A word that a text without it need not be looked at for.
    word: &'static str,
    /// What is looked for.
    part: &'static str,
    /// Whether the query begins with it, and is replaced as a whole.
    whole: bool,
    /// What is asked instead.
    instead: &'static str,
}

const KNOWN: [Known; 5] = [
    // psql, for the options of a table: there are none.
    Known {
        word: "reloptions",
        part: "pg_catalog.array_to_string(c.reloptions || array(select 'toast.' || x from \
               pg_catalog.unnest(tc.reloptions) x), ', ')",
        whole: false,
        instead: "NULL::text",
    },
    // ADBC, for the constraints of a table: there are none.
    Known {
        word: "fk_unnest",
        part: "WITH fk_unnest AS ( SELECT con.conname, 'FOREIGN KEY' AS contype,",
        whole: true,
        instead: "SELECT NULL::text AS conname, NULL::text AS contype, NULL::text[] AS colnames, \
                  NULL::text AS fschema, NULL::text AS ftable, NULL::text[] AS fcolnames \
                  WHERE $1::text <> $1::text AND $2::text <> $2::text",
    },
    // ADBC, when it connects: numbers of functions are names here, and every type has these.
    Known {
        word: "typreceive",
        part: "(typreceive != 0 OR typsend != 0)",
        whole: false,
        instead: "(typreceive <> '-' OR typsend <> '-')",
    },
    // asyncpg, when it meets a type: no type here is made of more than an array's elements. A column
    // of int[] would make it ask again for that.
    Known {
        word: "typeinfo_tree",
        part: "WITH RECURSIVE typeinfo_tree(oid, ns, name, kind, basetype, elemtype, elemdelim,",
        whole: true,
        instead: "SELECT t.oid AS oid, n.nspname AS ns, t.typname AS name, t.typtype AS kind, \
                  NULL::oid AS basetype, t.typelem AS elemtype, e.typdelim AS elemdelim, \
                  NULL::oid AS range_subtype, NULL::text[] AS attrtypoids, \
                  NULL::text[] AS attrnames, CASE WHEN e.oid IS NULL THEN 1 ELSE 0 END AS depth, \
                  NULL::text AS basetype_name, e.typname AS elemtype_name, \
                  NULL::text AS range_subtype_name \
                  FROM pg_catalog.pg_type t \
                  JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
                  LEFT JOIN pg_catalog.pg_type e ON t.typlen = -1 AND t.typelem = e.oid \
                  WHERE t.oid = ANY($1::oid[]) OR t.oid IN (\
                  SELECT a.typelem FROM pg_catalog.pg_type a WHERE a.oid = ANY($1::oid[])) \
                  ORDER BY depth DESC",
    },
    // Grafana, for the schemas of the search path: names are looked up in one.
    Known {
        word: "search_path",
        part: "SELECT CASE WHEN trim(s[i]) = '\"$user\"' THEN user ELSE trim(s[i]) END \
               FROM generate_series(\
               array_lower(string_to_array(current_setting('search_path'),','),1), \
               array_upper(string_to_array(current_setting('search_path'),','),1)) as i, \
               string_to_array(current_setting('search_path'),',') s",
        whole: false,
        instead: "'public'",
    },
];

/// The query with what is known in it replaced; none if nothing is.
pub(super) fn replaced(query: &str) -> Option<String> {
    let mut found = None;
    for known in KNOWN.iter().filter(|known| query.contains(known.word)) {
        let text = found.as_deref().unwrap_or(query);
        found = known.replace(text).or(found);
    }
    found
}

impl Known {
    fn replace(&self, query: &str) -> Option<String> {
        let part: Vec<Token> = tokens(self.part)?.into_iter().filter(meant).collect();
        let query = tokens(query)?;
        let mut text = String::new();
        let mut at = 0;
        let mut found = false;
        while let Some(token) = query.get(at) {
            match length(&query[at..], &part) {
                Some(_) if self.whole => return Some(self.instead.to_owned()),
                Some(length) => {
                    text.push_str(self.instead);
                    at += length;
                    found = true;
                }
                None if self.whole && meant(token) => return None,
                None => {
                    text.push_str(&token.to_string());
                    at += 1;
                }
            }
        }
        found.then_some(text)
    }
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    // Quotes stay as they are written, so that the query can be put together again.
    Tokenizer::new(&PostgreSqlDialect {}, text).with_unescape(false).tokenize().ok()
}

fn meant(token: &Token) -> bool {
    !matches!(token, Token::Whitespace(_) | Token::EOF)
}

/// How many tokens a part takes at the beginning of others, if it is there.
fn length(query: &[Token], part: &[Token]) -> Option<usize> {
    let mut left = part.iter();
    let mut next = left.next()?;
    if !query.first().is_some_and(meant) {
        return None;
    }
    for (at, token) in query.iter().enumerate().filter(|(_, token)| meant(token)) {
        if !same(token, next) {
            return None;
        }
        match left.next() {
            Some(token) => next = token,
            None => return Some(at + 1),
        }
    }
    None
}

fn same(left: &Token, right: &Token) -> bool {
    match (left, right) {
        (Token::Word(left), Token::Word(right)) if left.quote_style == right.quote_style => {
            left.value == right.value
                || left.quote_style.is_none() && left.value.eq_ignore_ascii_case(&right.value)
        }
        (left, right) => left == right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_replaced_whatever_their_white_space() {
        let [_, _, _, types, path] = KNOWN;
        let spaced = path.part.replace(' ', "\n  ").replace("SELECT", "select");
        let query = format!("select 'it''s' where a in ({spaced})  -- so\n and b");
        let expected = "select 'it''s' where a in ('public')  -- so\n and b";
        assert_eq!(replaced(&query).as_deref(), Some(expected));
        let query = format!("\n{}\n range_subtype) AS (select 1) select 2", types.part);
        assert_eq!(replaced(&query).as_deref(), Some(types.instead));
    }

    #[test]
    fn nothing_else_is_touched() {
        for query in [
            "select 1",
            "select current_setting('search_path')",
            "select * from typeinfo_tree",
            "select 1; WITH RECURSIVE typeinfo_tree(oid) as (select 1) select 2",
        ] {
            assert_eq!(replaced(query), None, "{query}");
        }
    }
}
