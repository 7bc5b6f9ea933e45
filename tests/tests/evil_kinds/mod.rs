//! The kinds of evil guests, and the end that each must have.

pub mod functions;
pub mod handmade;
pub mod refused;

/// How the attack of a guest ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    /// Its job fails with this code.
    Fails(&'static str),
    /// Its pipeline is refused with this code.
    Refused(&'static str),
    /// It has no effect: its job finishes, with a result for each record.
    Harmless,
    /// Its job finishes; the number of results does not matter.
    Finishes,
}

/// The pipeline around a guest's function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// One input without keys.
    Plain,
    /// One input, with a key of its own for each record.
    Keyed,
    /// One input, with the same key for all records.
    OneKey,
    /// A tumbling window over records of the same key.
    Window,
    /// A session window over records of the same key that merges.
    Session,
    /// A broadcast input and an input with the same key for all records.
    Broadcast,
    /// Two inputs with the same key and the same times for all records.
    Join,
}

/// One guest.
#[derive(Clone)]
pub struct Kind {
    pub name: &'static str,
    /// The component, or `None` for the one of tests/guests/evil.
    pub component: Option<Vec<u8>>,
    pub function: &'static str,
    pub shape: Shape,
    /// Additional settings of the operator.
    pub settings: &'static str,
    pub parallelism: u32,
    pub end: End,
}
