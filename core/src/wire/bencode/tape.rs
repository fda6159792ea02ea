//! Codec: the decoder's inner half: input to a flat tape of nodes, with an explicit stack.

use super::{DecodeError, MAX_DEPTH, MAX_NODES, Mode};

/// One value. Nodes stand in the order of the input, so a container's contents follow it up to `next`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// The first byte of the value.
    pub(super) start: u32,
    /// The first byte of a string's content, of an integer's sign or digits, of a container's first value.
    pub(super) body: u32,
    /// One behind the last byte of the value.
    pub(super) end: u32,
    /// The first node that is not within this one.
    pub(super) next: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    String,
    List,
    Dict,
}

pub(super) struct Parser<'a> {
    input: &'a [u8],
    at: usize,
    mode: Mode,
    nodes: Vec<Node>,
    open: Vec<Open>,
    canonical: bool,
}

/// A container whose end has not come yet.
struct Open {
    node: usize,
    turn: Turn,
    last_key: Option<usize>,
    sorted: bool,
}

/// What a container takes next.
#[derive(Clone, Copy, PartialEq)]
enum Turn {
    Element,
    Key,
    Value,
}

impl<'a> Parser<'a> {
    pub(super) fn new(input: &'a [u8], mode: Mode) -> Result<Self, DecodeError> {
        if u32::try_from(input.len()).is_err() {
            return Err(DecodeError::TooLong(input.len()));
        }
        Ok(Self { input, at: 0, mode, nodes: Vec::new(), open: Vec::new(), canonical: true })
    }

    /// Reads one value with all that is in it: the nodes, at least one, and whether it was canonical.
    pub(super) fn run(mut self) -> Result<(Vec<Node>, bool), DecodeError> {
        loop {
            self.step()?;
            if self.open.is_empty() {
                return Ok((self.nodes, self.canonical));
            }
        }
    }

    fn step(&mut self) -> Result<(), DecodeError> {
        let start = self.at;
        let byte = self.peek()?;
        if byte == b'e' {
            return self.close();
        }
        let is_key = self.open.last().is_some_and(|open| open.turn == Turn::Key);
        match byte {
            b'0'..=b'9' => self.string()?,
            _ if is_key => return Err(DecodeError::KeyNotString(start)),
            b'i' => self.integer()?,
            b'l' => return self.open(Kind::List),
            b'd' => return self.open(Kind::Dict),
            _ => return Err(DecodeError::Unexpected(start)),
        }
        if is_key {
            return self.key_done();
        }
        self.value_done();
        Ok(())
    }

    fn string(&mut self) -> Result<(), DecodeError> {
        let start = self.at;
        let mut length = 0u32;
        while let digit @ b'0'..=b'9' = self.peek()? {
            let longer = length.checked_mul(10).and_then(|tens| tens.checked_add(u32::from(digit - b'0')));
            length = longer.ok_or(DecodeError::LengthOverflow(start))?;
            self.at += 1;
        }
        if self.input[self.at] != b':' {
            return Err(DecodeError::MalformedLength(self.at));
        }
        self.check_leading_zero(start)?;
        self.at += 1;
        let body = self.at;
        if self.input.len() - body < length as usize {
            return Err(DecodeError::Truncated(self.input.len()));
        }
        self.at += length as usize;
        self.push(Kind::String, start, body)
    }

    fn integer(&mut self) -> Result<(), DecodeError> {
        let start = self.at;
        self.at += 1;
        let body = self.at;
        let negative = self.peek()? == b'-';
        self.at += usize::from(negative);
        let digits = self.at;
        let mut value = 0i64;
        while let digit @ b'0'..=b'9' = self.peek()? {
            let longer = push_digit(value, digit, negative);
            value = longer.ok_or(DecodeError::IntegerOverflow(start))?;
            self.at += 1;
        }
        if self.input[self.at] != b'e' || self.at == digits {
            return Err(DecodeError::MalformedInteger(self.at));
        }
        self.check_leading_zero(digits)?;
        if negative && value == 0 {
            self.tolerate(DecodeError::NegativeZero(start))?;
        }
        self.at += 1;
        self.push(Kind::Integer, start, body)
    }

    fn open(&mut self, kind: Kind) -> Result<(), DecodeError> {
        if self.open.len() == MAX_DEPTH {
            return Err(DecodeError::TooDeep(self.at));
        }
        let turn = if kind == Kind::Dict { Turn::Key } else { Turn::Element };
        self.open.push(Open { node: self.nodes.len(), turn, last_key: None, sorted: true });
        self.at += 1;
        self.push(kind, self.at - 1, self.at)
    }

    fn close(&mut self) -> Result<(), DecodeError> {
        let open = self.open.pop().ok_or(DecodeError::Unexpected(self.at))?;
        if open.turn == Turn::Value {
            return Err(DecodeError::MissingValue(self.at));
        }
        if !open.sorted {
            self.check_unsorted_keys(open.node)?;
        }
        self.at += 1;
        self.nodes[open.node].end = offset(self.at);
        self.nodes[open.node].next = offset(self.nodes.len());
        self.value_done();
        Ok(())
    }

    /// The last node is a key of the innermost container.
    fn key_done(&mut self) -> Result<(), DecodeError> {
        let key = self.nodes.len() - 1;
        let Some(open) = self.open.last_mut() else { return Ok(()) };
        open.turn = Turn::Value;
        let Some(last) = open.last_key.replace(key) else { return Ok(()) };
        let at = self.nodes[key].start as usize;
        match key_bytes(self.input, &self.nodes[last]).cmp(key_bytes(self.input, &self.nodes[key])) {
            core::cmp::Ordering::Less => Ok(()),
            core::cmp::Ordering::Equal => Err(DecodeError::DuplicateKey(at)),
            core::cmp::Ordering::Greater => {
                open.sorted = false;
                self.tolerate(DecodeError::UnsortedKey(at))
            }
        }
    }

    fn value_done(&mut self) {
        if let Some(open) = self.open.last_mut().filter(|open| open.turn == Turn::Value) {
            open.turn = Turn::Key;
        }
    }

    /// Neighbours were compared as they came; in a dictionary that is not sorted, equal keys may stand apart.
    fn check_unsorted_keys(&self, dict: usize) -> Result<(), DecodeError> {
        let mut keys = Vec::new();
        let mut key = dict + 1;
        while key < self.nodes.len() {
            keys.push(&self.nodes[key]);
            key = self.nodes[key + 1].next as usize;
        }
        keys.sort_by_key(|node| (key_bytes(self.input, node), node.start));
        let is_repeated = |pair: &&[&Node]| key_bytes(self.input, pair[0]) == key_bytes(self.input, pair[1]);
        match keys.windows(2).filter(is_repeated).map(|pair| pair[1].start as usize).min() {
            Some(at) => Err(DecodeError::DuplicateKey(at)),
            None => Ok(()),
        }
    }

    /// The digits from `start` to here are a number; a zero may stand there only alone.
    fn check_leading_zero(&mut self, start: usize) -> Result<(), DecodeError> {
        if self.input[start] == b'0' && self.at - start > 1 {
            self.tolerate(DecodeError::LeadingZero(start))?;
        }
        Ok(())
    }

    fn tolerate(&mut self, error: DecodeError) -> Result<(), DecodeError> {
        self.canonical = false;
        match self.mode {
            Mode::Strict => Err(error),
            Mode::Lax => Ok(()),
        }
    }

    fn push(&mut self, kind: Kind, start: usize, body: usize) -> Result<(), DecodeError> {
        if self.nodes.len() == MAX_NODES {
            return Err(DecodeError::TooManyNodes(start));
        }
        let next = offset(self.nodes.len() + 1);
        self.nodes.push(Node { kind, start: offset(start), body: offset(body), end: offset(self.at), next });
        Ok(())
    }

    fn peek(&self) -> Result<u8, DecodeError> {
        self.input.get(self.at).copied().ok_or(DecodeError::Truncated(self.at))
    }
}

/// The value of `text`, which the parser has checked: an optional sign, digits, and the `e` behind them.
pub(super) fn integer_value(text: &[u8]) -> i64 {
    let negative = text.first() == Some(&b'-');
    let digits = text.iter().filter(|byte| byte.is_ascii_digit());
    digits.fold(0, |value, &digit| push_digit(value, digit, negative).unwrap_or(value))
}

/// Negative values grow downwards, so that `i64::MIN` is reached without passing the greatest value.
fn push_digit(value: i64, digit: u8, negative: bool) -> Option<i64> {
    let digit = i64::from(digit - b'0');
    value.checked_mul(10)?.checked_add(if negative { -digit } else { digit })
}

fn key_bytes<'a>(input: &'a [u8], node: &Node) -> &'a [u8] {
    &input[node.body as usize..node.end as usize]
}

/// Offsets fit: the length of the input was checked, and there are fewer nodes than bytes.
fn offset(at: usize) -> u32 {
    at as u32
}
