//! A value of a definition, once YAML has been read.

use serde_json::{Value, json};

/// The members of a map, in order, each key once.
pub(crate) type Members = Vec<(String, Node)>;

/// A value of a definition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    /// In decimal notation.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Members),
    /// `!reference [job, keyword, …]`, to be replaced by what stands there.
    Reference(Vec<Node>),
}

impl Node {
    /// A member of a map; none if there is no such member or this is no map.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.members()?.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    pub(crate) fn members(&self) -> Option<&Members> {
        match self {
            Self::Map(members) => Some(members),
            _ => None,
        }
    }

    pub(crate) fn items(&self) -> Option<&[Node]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        *self == Self::Null
    }

    /// A scalar written out; none for null, lists and maps.
    pub(crate) fn scalar(&self) -> Option<String> {
        match self {
            Self::Text(text) | Self::Number(text) => Some(text.clone()),
            Self::Bool(flag) => Some(flag.to_string()),
            _ => None,
        }
    }

    /// The value as JSON.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(flag) => json!(flag),
            Self::Number(text) => text.parse().map_or_else(|_| json!(text), Value::Number),
            Self::Text(text) => json!(text),
            Self::List(items) | Self::Reference(items) => items.iter().map(Self::to_json).collect(),
            Self::Map(members) => {
                Value::Object(members.iter().map(|(key, node)| (key.clone(), node.to_json())).collect())
            }
        }
    }

    /// The same value with each scalar text replaced by what `change` makes of it.
    pub(crate) fn try_map<E>(self, change: &mut impl FnMut(Node) -> Result<Node, E>) -> Result<Self, E> {
        match self {
            Self::List(items) => {
                items.into_iter().map(|item| item.try_map(change)).collect::<Result<_, _>>().map(Self::List)
            }
            Self::Map(members) => {
                let members = members.into_iter().map(|(key, node)| {
                    let key = match change(Self::Text(key.clone()))? {
                        Self::Text(changed) => changed,
                        other => other.scalar().unwrap_or(key),
                    };
                    Ok((key, node.try_map(change)?))
                });
                members.collect::<Result<_, _>>().map(Self::Map)
            }
            other => change(other),
        }
    }
}

impl From<&Value> for Node {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Number(number) => Self::Number(number.to_string()),
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(items) => Self::List(items.iter().map(Self::from).collect()),
            Value::Object(members) => {
                Self::Map(members.iter().map(|(key, value)| (key.clone(), Self::from(value))).collect())
            }
        }
    }
}

/// Lays `over` on `base`: maps member by member to any depth, anything else replaced.
pub(crate) fn merge(base: &mut Members, over: Members) {
    for (key, node) in over {
        match (base.iter_mut().find(|(name, _)| *name == key), node) {
            (Some((_, Node::Map(old))), Node::Map(new)) => merge(old, new),
            (Some((_, old)), node) => *old = node,
            (None, node) => base.push((key, node)),
        }
    }
}
