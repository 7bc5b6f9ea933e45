//! A test guest that needs an import that the pipeline does not grant.

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package acme:test;

        interface vault {
            open: func() -> string;
        }

        world ungranted {
            include cofferdam:function/component@0.2.0;
            import vault;
        }
    ",
    world: "acme:test/ungranted",
    generate_all,
});

use cofferdam::function::types::{Batch, Failure, Output};
use exports::cofferdam::function::guest::{
    ComponentDescription, FunctionDescription, FunctionKind, Guest, Port, PortLayout,
};

struct Ungranted;
export!(Ungranted);

impl Guest for Ungranted {
    fn describe() -> ComponentDescription {
        let port = |name: &str| Port {
            name: name.to_string(),
            codec: "raw".to_string(),
            schema: Vec::new(),
            layout: PortLayout::Packed,
            key_type: String::new(),
        };
        let function = FunctionDescription {
            name: "open".to_string(),
            kind: FunctionKind::Process,
            inputs: vec![port("in")],
            outputs: vec![port("out")],
            states: Vec::new(),
            timers: Vec::new(),
        };
        ComponentDescription { sdk: "by hand".to_string(), functions: vec![function] }
    }

    fn process(_function: u32, _input: u32, _batch: Batch) -> Result<Vec<Output>, Failure> {
        Err(Failure { message: acme::test::vault::open(), record: None, backtrace: Vec::new() })
    }
}
