//! From words to a tree.

use super::TemplateError;
use super::lex::{Piece, Token, lex};
use cais_json::Value;

/// Parentheses and blocks in each other. More is nobody's template.
const DEEPEST: usize = 64;

/// A part of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(String),
    /// A pipeline whose value is printed, unless it goes to a variable.
    Action(Pipeline),
    If(Pipeline, Vec<Node>, Vec<Node>),
    With(Pipeline, Vec<Node>, Vec<Node>),
    Range(Range),
    Break,
    Continue,
}

/// `{{range}}`: over what, into which variables, the body, and what stands for nothing.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Range {
    pub(super) over: Pipeline,
    pub(super) key: Option<String>,
    pub(super) value: Option<String>,
    pub(super) body: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// Commands whose values go from one to the next.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pipeline {
    pub(super) line: usize,
    /// The variable that takes the value, and whether it is a new one.
    pub(super) target: Option<(String, bool)>,
    pub(super) commands: Vec<Vec<Operand>>,
}

/// An operand and the fields that are taken of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operand {
    pub(super) base: Base,
    pub(super) fields: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Base {
    Dot,
    Variable(String),
    Function(String),
    Literal(Value),
    Group(Box<Pipeline>),
}

impl Node {
    /// Adds the names of the fields that are taken of the data itself.
    pub(super) fn fields<'a>(&'a self, names: &mut Vec<&'a str>) {
        let (pipeline, bodies): (_, [&[Self]; 2]) = match self {
            Self::Action(pipeline) => (pipeline, [&[], &[]]),
            Self::If(pipeline, body, otherwise) | Self::With(pipeline, body, otherwise) => {
                (pipeline, [body, otherwise])
            }
            Self::Range(range) => (&range.over, [&range.body, &range.otherwise]),
            Self::Text(_) | Self::Break | Self::Continue => return,
        };
        pipeline.fields(names);
        bodies.into_iter().flatten().for_each(|node| node.fields(names));
    }
}

impl Pipeline {
    fn fields<'a>(&'a self, names: &mut Vec<&'a str>) {
        for operand in self.commands.iter().flatten() {
            match &operand.base {
                Base::Dot => names.push(operand.fields.first().map_or(".", String::as_str)),
                Base::Variable(name) if name.is_empty() => {
                    names.extend(operand.fields.first().map(String::as_str));
                }
                Base::Group(inner) => inner.fields(names),
                _ => {}
            }
        }
    }
}

/// Reads a whole template.
pub(super) fn parse_template(text: &str) -> Result<Vec<Node>, TemplateError> {
    let pieces = lex(text)?;
    let mut parser = Parser {
        pieces: &pieces,
        at: 0,
        depth: 0,
        variables: vec![String::new()],
        ranges: 0,
    };
    let (nodes, end) = parser.parse_list()?;
    match end {
        None => Ok(nodes),
        Some(Ending { word, line, .. }) => {
            Err(TemplateError::new(format!(":{line}: unexpected {{{{{word}}}}}")))
        }
    }
}

/// What ended a list of nodes: `end` or `else`, with what stands after it.
struct Ending {
    word: String,
    line: usize,
    rest: Vec<Token>,
}

struct Parser<'a> {
    pieces: &'a [Piece],
    at: usize,
    depth: usize,
    variables: Vec<String>,
    ranges: usize,
}

fn failed(line: usize, text: impl std::fmt::Display) -> TemplateError {
    TemplateError::new(format!(":{line}: {text}"))
}

impl Parser<'_> {
    fn parse_list(&mut self) -> Result<(Vec<Node>, Option<Ending>), TemplateError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.get(self.at) {
            self.at += 1;
            let (line, words) = match piece {
                Piece::Plain(text) => {
                    nodes.push(Node::Text(text.clone()));
                    continue;
                }
                Piece::Action(line, words) => (*line, words.as_slice()),
            };
            let word = match words.first() {
                Some(Token::Word(word)) => word.as_str(),
                None => return Err(failed(line, "missing value for command")),
                _ => "",
            };
            let rest = words.get(1..).unwrap_or(&[]);
            nodes.push(match word {
                "end" | "else" => {
                    let (word, rest) = (word.to_owned(), rest.to_vec());
                    return Ok((nodes, Some(Ending { word, line, rest })));
                }
                "if" | "with" | "range" => self.parse_block(word, line, rest)?,
                "break" | "continue" if self.ranges == 0 => {
                    return Err(failed(line, format_args!("{{{{{word}}}}} outside {{{{range}}}}")));
                }
                "break" => Node::Break,
                "continue" => Node::Continue,
                "template" | "define" | "block" => {
                    return Err(failed(line, format_args!("{{{{{word}}}}} is not supported")));
                }
                _ => Node::Action(self.parse_pipeline(line, words)?),
            });
        }
        Ok((nodes, None))
    }

    fn parse_block(&mut self, word: &str, line: usize, words: &[Token]) -> Result<Node, TemplateError> {
        self.deeper(line)?;
        let known = self.variables.len();
        let (mut key, mut value) = (None, None);
        let mut words = words;
        if word == "range"
            && let Some((first, rest)) = range_variables(words)
        {
            let names: Vec<String> = first;
            (key, value) = match names.as_slice() {
                [value] => (None, Some(value.clone())),
                [key, value] => (Some(key.clone()), Some(value.clone())),
                _ => return Err(failed(line, "too many declarations in range")),
            };
            words = rest;
        }
        let pipeline = self.parse_pipeline(line, words)?;
        self.variables.extend(key.iter().chain(&value).cloned());
        self.ranges += usize::from(word == "range");
        let (body, end) = self.parse_list()?;
        self.ranges -= usize::from(word == "range");
        let end = end.ok_or_else(|| failed(line, "unexpected EOF"))?;
        let otherwise = self.parse_otherwise(word, &end)?;
        self.variables.truncate(known);
        self.depth -= 1;
        Ok(match word {
            "if" => Node::If(pipeline, body, otherwise),
            "with" => Node::With(pipeline, body, otherwise),
            _ => Node::Range(Range {
                over: pipeline,
                key,
                value,
                body,
                otherwise,
            }),
        })
    }

    fn parse_otherwise(&mut self, word: &str, end: &Ending) -> Result<Vec<Node>, TemplateError> {
        if end.word == "end" {
            return Ok(Vec::new());
        }
        if let [Token::Word(next), rest @ ..] = end.rest.as_slice()
            && next == word
            && word != "range"
        {
            return Ok(vec![self.parse_block(word, end.line, rest)?]);
        }
        if !end.rest.is_empty() {
            return Err(failed(end.line, "unexpected words after {{else}}"));
        }
        match self.parse_list()? {
            (nodes, Some(last)) if last.word == "end" => Ok(nodes),
            (_, Some(last)) => Err(failed(last.line, "expected end; found {{else}}")),
            (_, None) => Err(failed(end.line, "unexpected EOF")),
        }
    }

    fn deeper(&mut self, line: usize) -> Result<(), TemplateError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(failed(line, "too deeply nested"));
        }
        Ok(())
    }

    fn parse_pipeline(&mut self, line: usize, words: &[Token]) -> Result<Pipeline, TemplateError> {
        let (target, words) = match words {
            [Token::Variable(name), Token::Declare, rest @ ..] => {
                self.variables.push(name.clone());
                (Some((name.clone(), true)), rest)
            }
            [Token::Variable(name), Token::Assign, rest @ ..] => (Some((name.clone(), false)), rest),
            _ => (None, words),
        };
        let mut commands = Vec::new();
        let mut operands: Vec<Operand> = Vec::new();
        let mut at = 0;
        while let Some(token) = words.get(at) {
            at += 1;
            let base = match token {
                Token::Pipe => {
                    if operands.is_empty() {
                        return Err(failed(line, "missing value for command"));
                    }
                    commands.push(std::mem::take(&mut operands));
                    continue;
                }
                Token::Field { name, glued } => {
                    match operands.last_mut() {
                        Some(last) if *glued => last.fields.push(name.clone()),
                        _ => operands.push(Operand {
                            base: Base::Dot,
                            fields: vec![name.clone()],
                        }),
                    }
                    continue;
                }
                Token::Open => {
                    let length = group_length(words.get(at..).unwrap_or(&[]))
                        .ok_or_else(|| failed(line, "unclosed left paren"))?;
                    self.deeper(line)?;
                    let inner = self.parse_pipeline(line, words.get(at..at + length).unwrap_or(&[]))?;
                    self.depth -= 1;
                    at += length + 1;
                    Base::Group(Box::new(inner))
                }
                other => self.parse_base(line, other)?,
            };
            operands.push(Operand {
                base,
                fields: Vec::new(),
            });
        }
        if operands.is_empty() {
            return Err(failed(line, "missing value for command"));
        }
        commands.push(operands);
        for (index, command) in commands.iter().enumerate() {
            let callable = matches!(
                command.first(),
                Some(Operand {
                    base: Base::Function(_),
                    ..
                })
            ) || command.first().is_some_and(|operand| !operand.fields.is_empty());
            if !callable && (index > 0 || command.len() > 1) {
                return Err(failed(line, "non executable command in pipeline"));
            }
        }
        Ok(Pipeline {
            line,
            target,
            commands,
        })
    }

    fn parse_base(&self, line: usize, token: &Token) -> Result<Base, TemplateError> {
        Ok(match token {
            Token::Dot => Base::Dot,
            Token::Variable(name) if self.variables.contains(name) => Base::Variable(name.clone()),
            Token::Variable(name) => {
                return Err(failed(line, format_args!("undefined variable \"${name}\"")));
            }
            Token::Text(text) => Base::Literal(Value::String(text.clone())),
            Token::Number(number) => Base::Literal(Value::Number(number.clone())),
            Token::Word(word) => match word.as_str() {
                "true" => Base::Literal(Value::Bool(true)),
                "false" => Base::Literal(Value::Bool(false)),
                "nil" => Base::Literal(Value::Null),
                name if super::functions::is_function(name) => Base::Function(name.to_owned()),
                name => return Err(failed(line, format_args!("function \"{name}\" not defined"))),
            },
            _ => return Err(failed(line, "unexpected punctuation in operand")),
        })
    }
}

/// `$v :=` or `$k, $v :=` before what is ranged over.
fn range_variables(words: &[Token]) -> Option<(Vec<String>, &[Token])> {
    match words {
        [Token::Variable(value), Token::Declare, rest @ ..] => Some((vec![value.clone()], rest)),
        [
            Token::Variable(key),
            Token::Comma,
            Token::Variable(value),
            Token::Declare,
            rest @ ..,
        ] => Some((vec![key.clone(), value.clone()], rest)),
        _ => None,
    }
}

/// How many words stand before the parenthesis that closes.
fn group_length(words: &[Token]) -> Option<usize> {
    let mut open = 1usize;
    words.iter().position(|word| {
        match word {
            Token::Open => open += 1,
            Token::Close => open -= 1,
            _ => {}
        }
        open == 0
    })
}
