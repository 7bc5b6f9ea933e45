//! Computes what every input needs of its records, from the sinks to the sources.
//!
//! Functions declare what they read. An operator with `select` or `filter` needs what its consumers need, and the fields that it names.

use super::input_need::{InputNeed, NeededField, OtherFields, add_path};
use crate::connector;
use crate::error::{self, Result};
use crate::model::row::FieldType;
use crate::pipeline::{
    Aggregate, FieldSelection, FileFormat, InputRole, KeySelector, NodeInput, NodeKind, NumericAggregate, OperatorNode,
    OutputPort, PipelineNode, RowOperator, SinkFormat, SinkNode,
};
use crate::runtime::plan::functions::FunctionPlans;
use crate::runtime::plan::output_ports::{is_late_output_read, is_late_port};
use crate::sandbox::{FunctionDescription, PortDescription};

/// The parts of a plan from which needs are computed.
#[derive(Clone, Copy)]
pub(in crate::runtime::plan) struct PlannedNodes<'a> {
    pub(in crate::runtime::plan) nodes: &'a [PipelineNode],
    pub(in crate::runtime::plan) functions: &'a FunctionPlans,
    /// For each node, the names of the columns if it is a source of CSV with names.
    pub(in crate::runtime::plan) columns: &'a [Option<Vec<String>>],
}

/// Returns the need of each input of each node.
pub(super) fn input_needs(plan: PlannedNodes<'_>) -> Result<Vec<Vec<InputNeed>>> {
    let mut needs: Vec<Vec<InputNeed>> = vec![Vec::new(); plan.nodes.len()];
    for (index, node) in plan.nodes.iter().enumerate().rev() {
        let own = node.inputs.iter().map(|input| plan.need(index, input, &needs)).collect::<Result<_>>()?;
        needs[index] = own;
    }
    Ok(needs)
}

/// Returns the port that reads the inputs of a role.
pub(super) fn port_of_role(function: &FunctionDescription, role: InputRole) -> &PortDescription {
    match (role, &function.second_input) {
        (InputRole::Second | InputRole::Broadcast, Some(second)) => second,
        _ => &function.input,
    }
}

impl PlannedNodes<'_> {
    fn need(&self, index: usize, input: &NodeInput, needs: &[Vec<InputNeed>]) -> Result<InputNeed> {
        let node = &self.nodes[index];
        match &node.kind {
            NodeKind::Source(_) => Ok(InputNeed::Nothing),
            NodeKind::Sink(sink) => Ok(need_of_sink(sink)),
            NodeKind::Operator(OperatorNode { rows: Some(rows), .. }) => {
                let is_flat = self.is_flat(input.node);
                Ok(need_of_row_operator(rows, &self.needs_of_consumers(index, needs), is_flat))
            }
            NodeKind::Operator(operator) => {
                match operator.windows.as_ref().and_then(|windows| windows.aggregate.as_ref()) {
                    Some(aggregate) => self.need_of_aggregate(node, input, aggregate),
                    None => self.need_of_function(node, input),
                }
            }
        }
    }

    fn need_of_function(&self, node: &PipelineNode, input: &NodeInput) -> Result<InputNeed> {
        let Some(function) = self.functions.get(&node.id) else { return Ok(InputNeed::as_read()) };
        let port = port_of_role(&function.description, input.role);
        let Some(schema) = &port.schema else {
            return Ok(if port.codec == "json" { InputNeed::Json } else { InputNeed::Raw });
        };
        let mut fields = schema.fields().iter().map(NeededField::declared).collect();
        self.add_key(&mut fields, node, input, &key_types(&port.key_type))?;
        Ok(InputNeed::Rows { fields, rest: OtherFields::None })
    }

    fn need_of_aggregate(&self, node: &PipelineNode, input: &NodeInput, aggregate: &Aggregate) -> Result<InputNeed> {
        let mut fields = Vec::new();
        self.add_key(&mut fields, node, input, &[])?;
        let is_top = match aggregate {
            Aggregate::Count => false,
            Aggregate::Numeric { function, field } => {
                for path in self.paths(node, input, field, "aggregate")? {
                    add_path(&mut fields, &path, None, self.is_flat(input.node));
                }
                matches!(function, NumericAggregate::Top(_))
            }
        };
        let needs_all = is_top || is_late_output_read(self.nodes, node);
        let rest = if needs_all || fields.is_empty() { OtherFields::AsRead } else { OtherFields::None };
        Ok(InputNeed::Rows { fields, rest })
    }

    /// Adds the fields of the key of an input.
    fn add_key(
        &self,
        fields: &mut Vec<NeededField>,
        node: &PipelineNode,
        input: &NodeInput,
        types: &[FieldType],
    ) -> Result<()> {
        let Some((selector, key)) = node.key_of(input.role) else { return Ok(()) };
        for (index, path) in self.paths(node, input, selector, key)?.iter().enumerate() {
            add_path(fields, path, types.get(index).cloned(), self.is_flat(input.node));
        }
        Ok(())
    }

    /// Returns the paths of the fields that a selector names in the records of `producer`. Error: `manifest-key` if the producer has no
    /// columns.
    pub(super) fn paths(
        &self,
        node: &PipelineNode,
        input: &NodeInput,
        selector: &KeySelector,
        key: &'static str,
    ) -> Result<Vec<String>> {
        Ok(match selector {
            KeySelector::Value | KeySelector::Emitted => Vec::new(),
            KeySelector::Field(name) => vec![name.clone()],
            KeySelector::Fields(names) => names.clone(),
            KeySelector::Column(index) => match self.column_name(input, *index) {
                Some(name) => vec![name],
                None => {
                    let producer = &self.nodes[input.node].id;
                    let message = format!("operator `{}`: `{producer}` has no column {index}", node.id);
                    let hint = "columns, counted from 0, are those of a CSV source; name a field: { field = \"name\" }";
                    return Err(error::manifest_key(message).hint(hint).about(&node.id, key));
                }
            },
        })
    }

    /// Returns the name of a column of the records of an input: without names, columns are named by their index.
    fn column_name(&self, input: &NodeInput, column: usize) -> Option<String> {
        let node = &self.nodes[input.node];
        match &node.kind {
            NodeKind::Source(source) => match (source.connector.format(), &self.columns[input.node]) {
                ((FileFormat::Csv, _), Some(columns)) => columns.get(column).cloned(),
                ((FileFormat::Csv, false), None) => Some(format!("column{column}")),
                _ => None,
            },
            NodeKind::Operator(_) if self.passes_records_on(input) => self.column_name(node.inputs.first()?, column),
            _ => None,
        }
    }

    /// Returns whether an input reads records as an operator has read them: what passes a filter, and late records.
    fn passes_records_on(&self, input: &NodeInput) -> bool {
        let node = &self.nodes[input.node];
        let filters =
            matches!(&node.kind, NodeKind::Operator(OperatorNode { rows: Some(RowOperator { select: None, .. }), .. }));
        match &input.port {
            OutputPort::Main => filters,
            OutputPort::Side(name) => is_late_port(name),
            OutputPort::DeadLetter => false,
        }
    }

    /// Returns whether the fields of a node have no nested records: those of a CSV source.
    pub(super) fn is_flat(&self, index: usize) -> bool {
        match &self.nodes[index].kind {
            NodeKind::Source(source) => source.connector.format().0 == FileFormat::Csv,
            NodeKind::Operator(OperatorNode { rows: Some(_), .. }) => {
                self.nodes[index].inputs.first().is_some_and(|input| self.is_flat(input.node))
            }
            _ => false,
        }
    }

    /// Returns the needs of all inputs that read the main output of a node.
    fn needs_of_consumers<'n>(&self, index: usize, needs: &'n [Vec<InputNeed>]) -> Vec<&'n InputNeed> {
        let all = self.nodes.iter().zip(needs);
        let reading = |(node, needs): (&PipelineNode, &'n Vec<InputNeed>)| {
            let inputs = node.inputs.iter().zip(needs);
            let main = |input: &NodeInput| input.node == index && input.port == OutputPort::Main;
            inputs.filter(|(input, _)| main(input)).map(|(_, need)| need).collect::<Vec<_>>()
        };
        all.flat_map(reading).collect()
    }
}

/// Returns the types of the parts of a key. None if the function declares none.
pub(in crate::runtime::plan) fn key_types(text: &str) -> Vec<FieldType> {
    let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).unwrap_or(text);
    inner.split(',').filter_map(|part| part.trim().parse().ok()).collect()
}

fn need_of_sink(sink: &SinkNode) -> InputNeed {
    if connector::ignores_records(&sink.connector) {
        return InputNeed::Nothing;
    }
    let encoding = &sink.encoding;
    if let Some(columns) = &encoding.columns {
        let fields = columns.iter().map(|name| NeededField::named(name, None)).collect();
        return InputNeed::Rows { fields, rest: OtherFields::None };
    }
    match encoding.format {
        Some(SinkFormat::Raw) => InputNeed::Raw,
        Some(SinkFormat::Csv | SinkFormat::Ndjson | SinkFormat::Avro) => {
            InputNeed::Rows { fields: Vec::new(), rest: OtherFields::All }
        }
        None => InputNeed::as_read(),
    }
}

fn need_of_row_operator(rows: &RowOperator, consumers: &[&InputNeed], is_flat: bool) -> InputNeed {
    let mut wanted: Vec<NeededField> = Vec::new();
    let mut rest = OtherFields::None;
    for need in consumers {
        match need {
            InputNeed::Nothing => {}
            InputNeed::Raw | InputNeed::Json => rest = OtherFields::All,
            InputNeed::Rows { fields, rest: more } => {
                wanted.extend(fields.iter().cloned());
                if *more != OtherFields::None {
                    rest = OtherFields::All;
                }
            }
        }
    }
    let mut fields = match &rows.select {
        None => wanted,
        Some(select) => {
            if select.keep.is_some() {
                rest = OtherFields::None;
            }
            selected_fields(select, wanted)
        }
    };
    for path in rows.filter.iter().flat_map(|filter| filter.paths()) {
        add_path(&mut fields, path, None, is_flat);
    }
    if fields.is_empty() {
        rest = OtherFields::All;
    }
    InputNeed::Rows { fields, rest }
}

/// Returns the fields of the input that a selection needs for the fields that its consumers want. The fields that the selection names
/// come first and in its order.
fn selected_fields(select: &FieldSelection, wanted: Vec<NeededField>) -> Vec<NeededField> {
    let mapped = wanted.into_iter().filter_map(|field| {
        let names: Vec<String> = field.names.iter().filter_map(|name| old_name(select, name)).collect();
        (!names.is_empty()).then_some(NeededField { names, ..field })
    });
    let mapped: Vec<NeededField> = mapped.collect();
    let mut fields: Vec<NeededField> = Vec::new();
    for name in select.keep.iter().flatten().chain(select.rename.iter().map(|rename| &rename.old)) {
        if fields.iter().any(|field| field.names[0] == *name) {
            continue;
        }
        let of_consumers = mapped.iter().filter(|field| field.names.contains(name));
        let before = fields.len();
        let names = || vec![name.clone()];
        fields.extend(of_consumers.map(|field| NeededField { names: names(), optional: false, ..field.clone() }));
        if fields.len() == before {
            fields.push(NeededField::named(name, None));
        }
    }
    if select.keep.is_none() {
        let is_renamed = |field: &NeededField| select.rename.iter().any(|rename| field.names.contains(&rename.old));
        fields.extend(mapped.into_iter().filter(|field| !is_renamed(field)));
    }
    fields
}

/// Returns the name in the input of a field that a selection emits as `name`. `None` if it emits no such field.
fn old_name(select: &FieldSelection, name: &String) -> Option<String> {
    let old = match select.rename.iter().find(|rename| rename.new == *name) {
        Some(rename) => &rename.old,
        None if select.rename.iter().any(|rename| rename.old == *name) => return None,
        None => name,
    };
    let is_kept = select.keep.as_ref().is_none_or(|keep| keep.contains(old)) && !select.drop.contains(old);
    is_kept.then(|| old.clone())
}
