//! The function of the kafka-sum example: adds up the amounts of each customer.

use cofferdam_sdk::prelude::*;

/// An order of a customer, who is its key.
#[derive(Record)]
struct Order {
    amount: i64,
}

/// What a customer has spent so far.
#[derive(Debug, PartialEq, Record)]
struct Spent {
    customer: String,
    sum: i64,
}

/// Emits the sum of the customer's orders after each order.
#[derive(Function)]
struct Sum {
    sum: ValueState<i64>,
}

#[function]
impl KeyedProcessFunction for Sum {
    type Key = String;
    type In = Order;
    type Out = Spent;

    fn process_element(&mut self, order: Order, ctx: &mut KeyedContext<String>, out: &mut Collector<Spent>) -> Result {
        let sum = self.sum.update(|sum| {
            *sum += order.amount;
            *sum
        });
        out.emit(Spent { customer: ctx.key().to_owned(), sum });
        Ok(())
    }
}

cofferdam_sdk::export!(Sum);

#[cfg(test)]
mod tests {
    use cofferdam_sdk::testing::Harness;

    use super::*;

    #[test]
    fn each_customer_has_a_sum() -> Result {
        let mut harness = Harness::<Sum>::new();
        harness.push("ann", Order { amount: 5 }, 0)?;
        harness.push("bob", Order { amount: 7 }, 0)?;
        harness.push("ann", Order { amount: -2 }, 0)?;
        let spent = |customer: &str, sum| Spent { customer: customer.to_owned(), sum };
        assert_eq!(harness.take_output()?, [spent("ann", 5), spent("bob", 7), spent("ann", 3)]);
        Ok(())
    }
}
