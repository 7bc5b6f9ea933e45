//! The guest of `tests/tests/sandbox.rs`: it prints, reads the system's clock, and computes for a while.

use std::hint::black_box;

use cofferdam_sdk::prelude::*;

/// Echoes each record and prints it with every macro that prints.
#[derive(Default)]
struct Print;

#[function(name = "print")]
impl FlatMapFunction for Print {
    type In = Text;
    type Out = Text;

    fn flat_map(&mut self, record: &str, _ctx: &mut Context, out: &mut Collector<Text>) -> Result {
        println!("stdout saw {record}");
        eprintln!("stderr saw {record}");
        dbg!(record);
        out.emit(record);
        helper(record);
        Ok(())
    }
}

/// Code outside of a function imports the macro.
fn helper(record: &str) {
    use cofferdam_sdk::println;
    println!("a helper saw {record}");
}

/// Reads the system's clock, which a component does not have.
#[derive(Default)]
struct Clock;

#[function(name = "clock")]
impl FlatMapFunction for Clock {
    type In = Text;
    type Out = Text;

    #[allow(clippy::disallowed_methods)]
    fn flat_map(&mut self, _record: &str, _ctx: &mut Context, out: &mut Collector<Text>) -> Result {
        out.emit(format!("{:?}", std::time::SystemTime::now()));
        Ok(())
    }
}

/// Echoes each record after the number of steps of work in it.
#[derive(Default)]
struct Work;

#[function(name = "work")]
impl FlatMapFunction for Work {
    type In = Text;
    type Out = Text;

    fn flat_map(&mut self, record: &str, _ctx: &mut Context, out: &mut Collector<Text>) -> Result {
        let steps: u64 = record.trim().parse()?;
        let mut sum = 0_u64;
        for step in 0..steps {
            sum = black_box(sum.rotate_left(5) ^ step);
        }
        out.emit(record);
        Ok(())
    }
}

cofferdam_sdk::export!(Print, Clock, Work);
