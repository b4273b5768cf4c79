//! The SOQL parser, for the part of the language that components write.

use super::error::ErrorResponse;

#[derive(Debug, PartialEq)]
pub(super) struct Select {
    pub(super) items: Vec<Item>,
    pub(super) from: String,
    pub(super) condition: Option<Condition>,
    /// The fields of GROUP BY.
    pub(super) group: Vec<String>,
    /// The field, and whether the order is descending.
    pub(super) order: Vec<(String, bool)>,
    pub(super) limit: Option<usize>,
    pub(super) offset: usize,
}

#[derive(Debug, PartialEq)]
pub(super) enum Item {
    /// A field, or one of a parent: `Account.Name`.
    Field(String),
    /// `COUNT()`
    Count,
    /// `COUNT(Id)`, `MAX(AnnualRevenue) most`
    Aggregate {
        function: String,
        field: String,
        alias: Option<String>,
    },
    /// `(SELECT … FROM Contacts)`
    Children(Box<Select>),
}

#[derive(Debug, PartialEq)]
pub(super) enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Compare {
        field: String,
        operator: Operator,
        values: Vec<Literal>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Is,
    IsNot,
    Less,
    AtMost,
    More,
    AtLeast,
    Like,
    In,
    NotIn,
    Includes,
    Excludes,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    Text(String),
    Number(f64),
    /// A date or a date and time, without quotes.
    Time(String),
    Bool(bool),
    Null,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Number(f64),
    Time(String),
    Symbol(&'static str),
}

type Parsed<T> = Result<T, ErrorResponse>;

pub(super) fn parse(text: &str) -> Parsed<Select> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
    };
    let select = parser.select(true)?;
    match parser.peek() {
        None => Ok(select),
        Some(token) => Err(unexpected(&format!("{token:?}"))),
    }
}

fn unexpected(what: &str) -> ErrorResponse {
    ErrorResponse::malformed(format!("unexpected token: {what}"))
}

const SYMBOLS: [&str; 9] = ["!=", "<>", "<=", ">=", "=", "<", ">", "(", ")"];

fn tokens(text: &str) -> Parsed<Vec<Token>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if first == '\'' {
            let (literal, length) = quoted(rest)?;
            found.push(Token::Text(literal));
            length
        } else if first == ',' {
            found.push(Token::Symbol(","));
            1
        } else if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            found.push(Token::Symbol(symbol));
            symbol.len()
        } else {
            let belongs =
                |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-' | '+');
            let length = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
            if length == 0 {
                return Err(ErrorResponse::malformed(format!(
                    "unexpected character: {first:?}"
                )));
            }
            found.push(word(&rest[..length])?);
            length
        };
        rest = rest[length..].trim_start();
    }
    Ok(found)
}

fn word(text: &str) -> Parsed<Token> {
    let starts_a_number = text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+');
    if !starts_a_number {
        return if text.contains([':', '-', '+']) {
            Err(unexpected(text))
        } else {
            Ok(Token::Word(text.to_owned()))
        };
    }
    if let Ok(number) = text.parse() {
        return Ok(Token::Number(number));
    }
    let digits: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    let zoned = ["Z", "+0000", "+00:00"]
        .iter()
        .find_map(|zone| digits.strip_suffix(zone));
    let is_time = match zoned {
        Some(time) => time == "0000-00-00T00:00:00" || time == "0000-00-00T00:00:00.000",
        None => digits == "0000-00-00",
    };
    if is_time {
        Ok(Token::Time(text.to_owned()))
    } else {
        Err(unexpected(text))
    }
}

/// The quoted text at the start of the input, and its length with the quotes.
fn quoted(text: &str) -> Parsed<(String, usize)> {
    let mut literal = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '\'' => return Ok((literal, at + 1)),
            '\n' | '\r' => {
                return Err(ErrorResponse::malformed(
                    "line breaks are not allowed in string literals",
                ));
            }
            '\\' => literal.push(match characters.next().map(|(_, escaped)| escaped) {
                Some('n' | 'N') => '\n',
                Some('r' | 'R') => '\r',
                Some('t' | 'T') => '\t',
                Some('b' | 'B') => '\u{8}',
                Some('f' | 'F') => '\u{c}',
                Some(same @ ('\\' | '\'' | '"' | '%' | '_')) => same,
                other => {
                    return Err(ErrorResponse::malformed(format!(
                        "Illegal character sequence '\\{other:?}' in string literal"
                    )));
                }
            }),
            character => literal.push(character),
        }
    }
    Err(ErrorResponse::malformed("a string literal is not closed"))
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Parsed<Token> {
        let token = self.peek().cloned().ok_or_else(|| unexpected("<EOF>"))?;
        self.at += 1;
        Ok(token)
    }

    fn takes(&mut self, symbol: &str) -> bool {
        let is_it = matches!(self.peek(), Some(Token::Symbol(s)) if *s == symbol);
        self.at += usize::from(is_it);
        is_it
    }

    fn takes_word(&mut self, keyword: &str) -> bool {
        let is_it = matches!(self.peek(), Some(Token::Word(w)) if w.eq_ignore_ascii_case(keyword));
        self.at += usize::from(is_it);
        is_it
    }

    fn wants(&mut self, symbol: &str) -> Parsed<()> {
        if self.takes(symbol) {
            Ok(())
        } else {
            Err(ErrorResponse::malformed(format!("expecting '{symbol}'")))
        }
    }

    fn wants_word(&mut self, keyword: &str) -> Parsed<()> {
        if self.takes_word(keyword) {
            Ok(())
        } else {
            Err(ErrorResponse::malformed(format!("expecting {keyword}")))
        }
    }

    fn name(&mut self) -> Parsed<String> {
        match self.next()? {
            Token::Word(word) => Ok(word),
            token => Err(unexpected(&format!("{token:?}"))),
        }
    }

    fn number(&mut self) -> Parsed<usize> {
        match self.next()? {
            Token::Number(number) if number >= 0.0 && number.fract() == 0.0 => Ok(number as usize),
            token => Err(unexpected(&format!("{token:?}"))),
        }
    }

    fn select(&mut self, outermost: bool) -> Parsed<Select> {
        self.wants_word("SELECT")?;
        let items = self.separated(|parser| parser.item(outermost))?;
        self.wants_word("FROM")?;
        let from = self.name()?;
        let condition = self.after("WHERE", Self::condition)?;
        let group = self.after("GROUP", |parser| {
            parser.wants_word("BY")?;
            parser.separated(Self::name)
        })?;
        let order = self.after("ORDER", |parser| {
            parser.wants_word("BY")?;
            parser.separated(Self::order)
        })?;
        let limit = self.after("LIMIT", Self::number)?;
        let offset = self.after("OFFSET", Self::number)?;
        Ok(Select {
            items,
            from,
            condition,
            group: group.unwrap_or_default(),
            order: order.unwrap_or_default(),
            limit,
            offset: offset.unwrap_or_default(),
        })
    }

    /// What follows the keyword; none without the keyword.
    fn after<T>(
        &mut self,
        keyword: &str,
        read: impl FnOnce(&mut Self) -> Parsed<T>,
    ) -> Parsed<Option<T>> {
        if self.takes_word(keyword) {
            read(self).map(Some)
        } else {
            Ok(None)
        }
    }

    /// One or more, with commas between them.
    fn separated<T>(&mut self, mut read: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut all = vec![read(self)?];
        while self.takes(",") {
            all.push(read(self)?);
        }
        Ok(all)
    }

    fn item(&mut self, outermost: bool) -> Parsed<Item> {
        if self.takes("(") {
            if !outermost {
                return Err(ErrorResponse::malformed(
                    "a subquery cannot stand in a subquery",
                ));
            }
            let children = self.select(false)?;
            self.wants(")")?;
            return Ok(Item::Children(children.into()));
        }
        let name = self.name()?;
        match self.takes("(") {
            false => Ok(Item::Field(name)),
            true if name.eq_ignore_ascii_case("count") && self.takes(")") => Ok(Item::Count),
            true => self.aggregate(&name.to_ascii_uppercase()),
        }
    }

    /// An aggregate function behind its opening parenthesis, and its alias.
    fn aggregate(&mut self, function: &str) -> Parsed<Item> {
        if !["COUNT", "SUM", "MIN", "MAX"].contains(&function) {
            return Err(ErrorResponse::not_here(format!("SOQL function {function}")));
        }
        let field = self.name()?;
        self.wants(")")?;
        let alias = match self.peek() {
            Some(Token::Word(word)) if !word.eq_ignore_ascii_case("FROM") => Some(self.name()?),
            _ => None,
        };
        Ok(Item::Aggregate {
            function: function.to_owned(),
            field,
            alias,
        })
    }

    /// A field of ORDER BY, and whether it descends.
    fn order(&mut self) -> Parsed<(String, bool)> {
        let field = self.name()?;
        let descends = self.takes_word("DESC");
        if !descends {
            self.takes_word("ASC");
        }
        Ok((field, descends))
    }

    /// Terms joined by AND, or by OR. Salesforce demands parentheses around a mix of both.
    fn condition(&mut self) -> Parsed<Condition> {
        let mut terms = vec![self.term()?];
        let mut word = None;
        loop {
            let next = if self.takes_word("AND") {
                "AND"
            } else if self.takes_word("OR") {
                "OR"
            } else {
                break;
            };
            if *word.get_or_insert(next) != next {
                return Err(unexpected(next));
            }
            terms.push(self.term()?);
        }
        Ok(match (word, terms.pop()) {
            (None, Some(term)) => term,
            (word, last) => {
                terms.extend(last);
                if word == Some("OR") {
                    Condition::Any(terms)
                } else {
                    Condition::All(terms)
                }
            }
        })
    }

    fn term(&mut self) -> Parsed<Condition> {
        if self.takes_word("NOT") {
            return Ok(Condition::Not(self.term()?.into()));
        }
        if self.takes("(") {
            let condition = self.condition()?;
            self.wants(")")?;
            return Ok(condition);
        }
        let field = self.name()?;
        let operator = self.operator()?;
        let is_list = matches!(
            operator,
            Operator::In | Operator::NotIn | Operator::Includes | Operator::Excludes
        );
        let values = if is_list {
            self.wants("(")?;
            let values = self.separated(Self::literal)?;
            self.wants(")")?;
            values
        } else {
            vec![self.literal()?]
        };
        Ok(Condition::Compare {
            field,
            operator,
            values,
        })
    }

    fn operator(&mut self) -> Parsed<Operator> {
        Ok(match self.next()? {
            Token::Symbol("=") => Operator::Is,
            Token::Symbol("!=" | "<>") => Operator::IsNot,
            Token::Symbol("<") => Operator::Less,
            Token::Symbol("<=") => Operator::AtMost,
            Token::Symbol(">") => Operator::More,
            Token::Symbol(">=") => Operator::AtLeast,
            Token::Word(word) => match word.to_ascii_uppercase().as_str() {
                "LIKE" => Operator::Like,
                "IN" => Operator::In,
                "INCLUDES" => Operator::Includes,
                "EXCLUDES" => Operator::Excludes,
                "NOT" => {
                    self.wants_word("IN")?;
                    Operator::NotIn
                }
                _ => return Err(unexpected(&word)),
            },
            token => return Err(unexpected(&format!("{token:?}"))),
        })
    }

    fn literal(&mut self) -> Parsed<Literal> {
        Ok(match self.next()? {
            Token::Text(text) => Literal::Text(text),
            Token::Number(number) => Literal::Number(number),
            Token::Time(time) => Literal::Time(time),
            Token::Word(word) => match word.to_ascii_lowercase().as_str() {
                "true" => Literal::Bool(true),
                "false" => Literal::Bool(false),
                "null" => Literal::Null,
                _ => return Err(ErrorResponse::not_here(format!("literal {word} in SOQL"))),
            },
            token @ Token::Symbol(_) => return Err(unexpected(&format!("{token:?}"))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_queries_are_rejected() {
        for wrong in [
            "",
            "SELECT FROM Account",
            "SELECT Id FROM Account WHERE",
            "SELECT Id FROM Account WHERE Name = 'a' AND Name = 'b' OR Name = 'c'",
            "SELECT Id FROM Account WHERE Name = 'it's'",
            "SELECT Id FROM Account WHERE Name = 'open",
            "SELECT Id FROM Account WHERE Name = 'a\\x'",
            "SELECT Id FROM Account WHERE Name IN 'a'",
            "SELECT Id FROM Account; DELETE",
            "SELECT Id FROM Account LIMIT -1",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_complete_query_is_parsed() {
        let read = parse(
            "select Id, Account.Name, (SELECT Id FROM Contacts) FROM Contact WHERE (Name = 'O\\'Hara' OR Born < 2020-01-01) \
             AND Tags includes ('a;b') ORDER BY Name DESC, Id LIMIT 5 OFFSET 2",
        );
        let read = read.unwrap();
        assert_eq!((read.items.len(), read.limit, read.offset), (3, Some(5), 2));
        assert_eq!(
            read.order,
            [("Name".to_owned(), true), ("Id".to_owned(), false)]
        );
        let Some(Condition::All(terms)) = read.condition else {
            panic!("{:?}", read.condition)
        };
        let Condition::Any(names) = &terms[0] else {
            panic!("{terms:?}")
        };
        let is = |field: &str, operator, value| Condition::Compare {
            field: field.into(),
            operator,
            values: vec![value],
        };
        assert_eq!(
            names[0],
            is("Name", Operator::Is, Literal::Text("O'Hara".into()))
        );
        assert_eq!(
            names[1],
            is("Born", Operator::Less, Literal::Time("2020-01-01".into()))
        );
    }
}
