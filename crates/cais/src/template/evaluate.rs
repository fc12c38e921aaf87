//! Carries a template out.

use super::TemplateError;
use super::functions::call;
use super::parse::{Base, Node, Operand as Term, Pipeline, Range};
use super::value::{Label, Operand, field, is_true, print};
use cais_json::Value;
use cais_order::InOrder;
use std::rc::Rc;

/// What may come out of one template.
const LONGEST: usize = 64 << 20;

pub(super) fn render(nodes: &[Node], data: Value) -> Result<String, TemplateError> {
    let data = Rc::new(Operand::Json(data));
    let mut state = State {
        text: String::new(),
        data: Rc::clone(&data),
        variables: Vec::new(),
    };
    state.walk(nodes, &data)?;
    Ok(state.text)
}

struct State {
    text: String,
    /// What `$` stands for.
    data: Rc<Operand>,
    variables: Vec<(String, Operand)>,
}

/// How a list of nodes ended.
enum Flow {
    Through,
    Break,
    Continue,
}

impl State {
    fn walk(&mut self, nodes: &[Node], dot: &Operand) -> Result<Flow, TemplateError> {
        for node in nodes {
            match node {
                Node::Text(text) => self.text.push_str(text),
                Node::Action(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.target.is_none() {
                        self.text.push_str(&print(&value));
                    }
                }
                Node::If(pipeline, body, otherwise) | Node::With(pipeline, body, otherwise) => {
                    let known = self.variables.len();
                    let value = self.pipeline(pipeline, dot)?;
                    let inner = if matches!(node, Node::With(..)) {
                        &value
                    } else {
                        dot
                    };
                    let flow = if is_true(&value) {
                        self.walk(body, inner)?
                    } else {
                        self.walk(otherwise, dot)?
                    };
                    self.variables.truncate(known);
                    if !matches!(flow, Flow::Through) {
                        return Ok(flow);
                    }
                }
                Node::Range(range) => {
                    let known = self.variables.len();
                    self.range(range, dot)?;
                    self.variables.truncate(known);
                }
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
            }
            if self.text.len() > LONGEST {
                return Err(TemplateError::new("the output is too long"));
            }
        }
        Ok(Flow::Through)
    }

    fn range(&mut self, range: &Range, dot: &Operand) -> Result<(), TemplateError> {
        let over = self.pipeline(&range.over, dot)?;
        let items: Vec<(Value, Value)> = match over {
            Operand::Json(Value::Array(list)) => list
                .into_iter()
                .enumerate()
                .map(|(index, value)| (Value::from(index), value))
                .collect(),
            Operand::Json(Value::Object(map)) => {
                let mut items: Vec<_> = map.into_iter().filter(|(key, _)| key != Label::KEY).collect();
                items.order_by(|a, b| a.0.cmp(&b.0));
                items
                    .into_iter()
                    .map(|(key, value)| (Value::String(key), value))
                    .collect()
            }
            Operand::Json(Value::Null) | Operand::Missing | Operand::Nil(_) => Vec::new(),
            Operand::Json(Value::Number(count)) => (0..count.as_u64().unwrap_or(0).min(1 << 20))
                .map(|index| (index.into(), index.into()))
                .collect(),
            Operand::Json(other) => {
                let line = range.over.line;
                let text = format!(
                    ":{line}: range can't iterate over {}",
                    print(&Operand::Json(other))
                );
                return Err(TemplateError::new(text));
            }
        };
        if items.is_empty() {
            self.walk(&range.otherwise, dot)?;
            return Ok(());
        }
        let known = self.variables.len();
        for (key, value) in items {
            let value = Operand::Json(value);
            if let Some(name) = &range.key {
                self.variables.push((name.clone(), Operand::Json(key)));
            }
            if let Some(name) = &range.value {
                self.variables.push((name.clone(), value.clone()));
            }
            let flow = self.walk(&range.body, &value)?;
            self.variables.truncate(known);
            if matches!(flow, Flow::Break) {
                break;
            }
        }
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Operand) -> Result<Operand, TemplateError> {
        let mut value = None;
        for command in &pipeline.commands {
            value =
                Some(self.command(command, dot, value).map_err(|text| {
                    TemplateError::new(format!(":{}: executing \"\": {text}", pipeline.line))
                })?);
        }
        let value = value.unwrap_or(Operand::Missing);
        if let Some((name, is_new)) = &pipeline.target {
            let known = self.variables.iter_mut().rev().find(|known| known.0 == *name);
            match known {
                Some(known) if !is_new => known.1 = value.clone(),
                _ => self.variables.push((name.clone(), value.clone())),
            }
        }
        Ok(value)
    }

    fn command(&mut self, command: &[Term], dot: &Operand, last: Option<Operand>) -> Result<Operand, String> {
        let Some((first, rest)) = command.split_first() else {
            return Ok(Operand::Missing);
        };
        if let Base::Function(name) = &first.base {
            // `and` and `or` look at no more than they need.
            if matches!(name.as_str(), "and" | "or") {
                return self.shortcut(name == "and", rest, dot, last);
            }
            let mut arguments = rest
                .iter()
                .map(|term| self.term(term, dot))
                .collect::<Result<Vec<_>, _>>()?;
            arguments.extend(last);
            return call(name, &arguments);
        }
        let arguments: Vec<Operand> = rest
            .iter()
            .map(|term| self.term(term, dot))
            .collect::<Result<_, _>>()?;
        let arguments: Vec<Operand> = arguments.into_iter().chain(last).collect();
        if arguments.is_empty() {
            return self.term(first, dot);
        }
        self.method(first, dot, &arguments)
    }

    fn shortcut(
        &mut self,
        is_and: bool,
        terms: &[Term],
        dot: &Operand,
        last: Option<Operand>,
    ) -> Result<Operand, String> {
        let mut value = None;
        for term in terms {
            let next = self.term(term, dot)?;
            let decided = is_true(&next) != is_and;
            value = Some(next);
            if decided {
                return Ok(value.unwrap_or(Operand::Missing));
            }
        }
        last.or(value)
            .ok_or_else(|| "wrong number of args for and, or: want at least 1 got 0".to_owned())
    }

    /// `.Label "key"`: the one method that lists have.
    fn method(&mut self, term: &Term, dot: &Operand, arguments: &[Operand]) -> Result<Operand, String> {
        let name = term.fields.last().map_or("", String::as_str);
        let owner = Term {
            base: term.base.clone(),
            fields: term.fields.iter().rev().skip(1).rev().cloned().collect(),
        };
        let owner = self.term(&owner, dot)?;
        let labels = field(&owner, None, Label::KEY);
        match (name, labels, arguments) {
            // In a heading the label's own name stands, without what is before its last dot.
            ("Label", Ok(Operand::Json(Value::Bool(true))), [Operand::Json(Value::String(key))]) => {
                let last = key.rsplit('.').next().unwrap_or(key);
                Ok(Operand::Json(Value::String(last.replace(['-', '_'], " "))))
            }
            ("Label", Ok(labels), [Operand::Json(Value::String(key))]) => {
                Ok(match field(&labels, Some(Label::KEY), key)? {
                    Operand::Missing => Operand::Json(Value::String(String::new())),
                    found => found,
                })
            }
            _ => Err(format!("{name} has arguments but cannot be invoked as function")),
        }
    }

    fn term(&mut self, term: &Term, dot: &Operand) -> Result<Operand, String> {
        // Of the data only the field is copied, and not all of it for each field.
        if let (Base::Dot, Some((first, rest))) = (&term.base, term.fields.split_first()) {
            return walk_fields(field(dot, None, first)?, Some(first), rest);
        }
        let base = match &term.base {
            Base::Dot => dot.clone(),
            Base::Variable(name) if name.is_empty() => (*self.data).clone(),
            Base::Variable(name) => self
                .variables
                .iter()
                .rev()
                .find(|known| known.0 == *name)
                .map_or(Operand::Missing, |known| known.1.clone()),
            Base::Function(name) => call(name, &[])?,
            Base::Literal(value) => Operand::Json(value.clone()),
            Base::Group(pipeline) => self.pipeline(pipeline, dot).map_err(|TemplateError(text)| text)?,
        };
        walk_fields(base, None, &term.fields)
    }
}

/// The field of a field of a value. `parent` is the name of the field that the value is.
fn walk_fields(value: Operand, parent: Option<&str>, names: &[String]) -> Result<Operand, String> {
    let (mut value, mut parent) = (value, parent);
    for name in names {
        value = field(&value, parent, name)?;
        parent = Some(name);
    }
    Ok(value)
}
