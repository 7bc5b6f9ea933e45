//! `#[function]`: reads the line, keeps the `impl` as it is, and writes `Function` for its type.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::parse::Parser;
use syn::{Error, Ident, ImplItem, ItemImpl, LitStr, Path, Result, Token, Type, punctuated::Punctuated};

/// What stands between the brackets.
#[derive(Default)]
struct Line {
    name: Option<LitStr>,
    states: Vec<Path>,
    broadcast: Vec<Path>,
    side_outputs: Vec<Path>,
    timers: Vec<Ident>,
}

pub fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let line = Line::parse(arguments)?;
    let mut item: ItemImpl = syn::parse2(item)?;
    let function = write_function(&line, &item)?;
    print_to_the_log(&mut item);
    Ok(quote! { #item #function })
}

/// Has `println!` and its kin write to the function's log: those of the standard library write to nothing in a component.
fn print_to_the_log(item: &mut ItemImpl) {
    for method in &mut item.items {
        if let ImplItem::Fn(method) = method {
            let imports = syn::parse_quote! {
                #[allow(unused_imports)]
                use ::cofferdam_sdk::{dbg, eprint, eprintln, print, println};
            };
            method.block.stmts.insert(0, imports);
        }
    }
}

impl Line {
    fn parse(arguments: TokenStream) -> Result<Line> {
        let mut line = Line::default();
        let parser = syn::meta::parser(|meta| {
            if meta.path.is_ident("name") {
                line.name = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("states") {
                line.states = list(&meta)?;
            } else if meta.path.is_ident("broadcast") {
                line.broadcast = list(&meta)?;
            } else if meta.path.is_ident("side_outputs") {
                line.side_outputs = list(&meta)?;
            } else if meta.path.is_ident("timers") {
                line.timers = list(&meta)?;
            } else {
                return Err(meta.error(
                    "expected `name = \"...\"`, `states(...)`, `broadcast(...)`, `side_outputs(...)` or `timers(...)`",
                ));
            }
            Ok(())
        });
        parser.parse2(arguments)?;
        Ok(line)
    }

    /// Refuses what functions of this family cannot have.
    fn check(&self, family: &Family, path: &Path) -> Result<()> {
        let named = [
            ("states", !self.states.is_empty()),
            ("broadcast", !self.broadcast.is_empty()),
            ("side_outputs", !self.side_outputs.is_empty()),
            ("timers", !self.timers.is_empty()),
        ];
        let refused = named.into_iter().find(|&(what, named)| named && !family.may_have.contains(&what));
        let Some((what, _)) = refused else { return Ok(()) };
        let may = FAMILIES.iter().filter(|family| family.may_have.contains(&what));
        let may: Vec<_> = may.map(|family| format!("`{}`", family.function)).collect();
        let message = format!("`{}` cannot have `{what}(...)`; these can: {}", family.function, may.join(", "));
        Err(Error::new_spanned(path, message))
    }

    /// The calls that declare what the line names.
    fn declarations(&self) -> Result<TokenStream> {
        let (states, broadcast, sides) = (&self.states, &self.broadcast, &self.side_outputs);
        let mut calls = quote! {
            #(declaration.state(#states);)*
            #(declaration.broadcast(#broadcast);)*
            #(declaration.side_output(#sides);)*
        };
        let mut seen: Vec<String> = Vec::new();
        for timer in &self.timers {
            let name = timer.to_string();
            let call = match name.as_str() {
                _ if seen.contains(&name) => return Err(Error::new(timer.span(), "named twice")),
                "event" => quote! { declaration.event_timers(); },
                "processing" => quote! { declaration.processing_timers(); },
                _ => return Err(Error::new(timer.span(), "expected `event` or `processing`")),
            };
            seen.push(name);
            calls.extend(call);
        }
        Ok(calls)
    }
}

/// Reads `(A, B, ...)`.
fn list<T: syn::parse::Parse>(meta: &syn::meta::ParseNestedMeta<'_>) -> Result<Vec<T>> {
    let content;
    syn::parenthesized!(content in meta.input);
    Ok(Punctuated::<T, Token![,]>::parse_terminated(&content)?.into_iter().collect())
}

/// What a trait's functions are, and what their line may name beside `name`.
struct Family {
    function: &'static str,
    /// The kind in `cofferdam_sdk::kinds`.
    kind: &'static str,
    /// The trait's name of the first input.
    input: &'static str,
    /// The trait's name of the second input, where there is one.
    second: Option<&'static str>,
    /// The trait's name of the output.
    output: &'static str,
    may_have: &'static [&'static str],
    /// Whether windows keep an accumulator for it.
    folds: bool,
}

const ONE: Family = Family {
    function: "",
    kind: "",
    input: "In",
    second: None,
    output: "Out",
    may_have: &["side_outputs"],
    folds: false,
};
const TWO: Family = Family { input: "First", second: Some("Second"), ..ONE };

const FAMILIES: &[Family] = &[
    Family { function: "MapFunction", kind: "Map", ..ONE },
    Family { function: "FlatMapFunction", kind: "FlatMap", ..ONE },
    Family {
        function: "KeyedProcessFunction",
        kind: "KeyedProcess",
        may_have: &["states", "side_outputs", "timers"],
        ..ONE
    },
    Family {
        function: "BroadcastProcessFunction",
        kind: "BroadcastProcess",
        second: Some("Broadcast"),
        may_have: &["states", "broadcast", "side_outputs", "timers"],
        ..ONE
    },
    Family { function: "CoProcessFunction", kind: "CoProcess", may_have: &["states", "side_outputs", "timers"], ..TWO },
    Family { function: "AggregateFunction", kind: "Aggregate", may_have: &[], folds: true, ..ONE },
    Family { function: "ReduceFunction", kind: "Reduce", output: "In", may_have: &[], folds: true, ..ONE },
    Family { function: "ProcessWindowFunction", kind: "ProcessWindow", may_have: &["states", "side_outputs"], ..ONE },
    Family { function: "CoGroupFunction", kind: "CoGroup", may_have: &["states", "side_outputs"], ..TWO },
    Family { function: "JoinFunction", kind: "Join", ..TWO },
    Family { function: "IntervalJoinFunction", kind: "IntervalJoin", ..TWO },
];

fn write_function(line: &Line, item: &ItemImpl) -> Result<TokenStream> {
    let names = || FAMILIES.iter().map(|family| format!("`{}`", family.function)).collect::<Vec<_>>().join(", ");
    let expected = || format!("`#[function]` goes on the `impl` for a type of one of: {}", names());
    let Some((_, path, _)) = &item.trait_ else { return Err(Error::new_spanned(&item.self_ty, expected())) };
    if !item.generics.params.is_empty() {
        return Err(Error::new_spanned(&item.generics, "a function that is exported has no type parameters"));
    }
    let function = path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
    let Some(family) = FAMILIES.iter().find(|family| family.function == function) else {
        return Err(Error::new_spanned(path, expected()));
    };
    line.check(family, path)?;
    let name = match &line.name {
        Some(name) => name.clone(),
        None => LitStr::new(&kebab_case(&type_name(&item.self_ty)?), Span::call_site()),
    };
    let ident = |name: &str| Ident::new(name, Span::call_site());
    let (self_ty, declarations) = (&item.self_ty, line.declarations()?);
    let (kind, input, output) = (ident(family.kind), ident(family.input), ident(family.output));
    let accumulator = family.folds.then(|| quote! { declaration.accumulator(<Self as #path>::ACCUMULATOR); });
    let two_inputs = family.second.map(|second| {
        let second = ident(second);
        quote! {
            impl ::cofferdam_sdk::TwoInputs for #self_ty {
                type Second = <Self as #path>::#second;
            }
        }
    });
    Ok(quote! {
        impl ::cofferdam_sdk::Function for #self_ty {
            type Input = <Self as #path>::#input;
            type Output = <Self as #path>::#output;
            type Kind = ::cofferdam_sdk::kinds::#kind;
            const NAME: &'static str = #name;

            fn declare(declaration: &mut ::cofferdam_sdk::Declaration) {
                let _ = &declaration;
                #accumulator
                #declarations
            }
        }

        #two_inputs
    })
}

fn type_name(ty: &Type) -> Result<String> {
    match ty {
        Type::Path(path) if !path.path.segments.is_empty() => {
            Ok(path.path.segments[path.path.segments.len() - 1].ident.to_string())
        }
        _ => Err(Error::new_spanned(ty.to_token_stream(), "name the function: `#[function(name = \"...\")]`")),
    }
}

/// `CountFlights` becomes `count-flights`, `HTTPParser` becomes `http-parser`.
fn kebab_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut kebab = String::new();
    for (i, &letter) in letters.iter().enumerate() {
        let before = i.checked_sub(1).map(|i| letters[i]);
        let begins_word = letter.is_uppercase()
            && before.is_some_and(|before| {
                !before.is_uppercase() || letters.get(i + 1).is_some_and(|next| next.is_lowercase())
            });
        match letter {
            '_' => kebab.push('-'),
            _ => {
                if begins_word && before != Some('_') {
                    kebab.push('-');
                }
                kebab.extend(letter.to_lowercase());
            }
        }
    }
    kebab
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kebab_case() {
        for (name, kebab) in
            [("Track", "track"), ("CountFlights", "count-flights"), ("HTTPParser", "http-parser"), ("A1B", "a1-b")]
        {
            assert_eq!(kebab_case(name), kebab);
        }
    }

    #[test]
    fn mistakes_are_named() {
        let on = |arguments: TokenStream, item: TokenStream| expand(arguments, item).unwrap_err().to_string();
        let map = quote! { impl MapFunction for A {} };
        assert!(on(quote! { state(COUNT) }, map.clone()).contains("expected `name"));
        assert!(
            on(quote! { states(COUNT) }, map).contains("`MapFunction` cannot have `states(...)`; these can: `Keyed")
        );
        let keyed = quote! { impl KeyedProcessFunction for A {} };
        assert!(on(quote! { broadcast(RULES) }, keyed).ends_with("these can: `BroadcastProcessFunction`"));
        let window = quote! { impl ProcessWindowFunction for A {} };
        assert!(on(quote! { timers(event) }, window).contains("cannot have `timers(...)`"));
        let aggregate = quote! { impl cofferdam_sdk::AggregateFunction for A {} };
        assert!(on(quote! { side_outputs(LATE) }, aggregate.clone()).contains("cannot have `side_outputs(...)`"));
        assert!(on(quote! { states(COUNT) }, aggregate).contains("`AggregateFunction` cannot have `states(...)`"));
        assert!(on(quote! { states(COUNT) }, quote! { impl JoinFunction for A {} }).contains("cannot have"));
        assert!(on(quote! {}, quote! { impl Clone for A {} }).contains("`IntervalJoinFunction`"));
        assert!(on(quote! {}, quote! { impl A {} }).contains("goes on the `impl`"));
        assert!(on(quote! { timers(wall) }, quote! { impl KeyedProcessFunction for A {} }).contains("`event`"));
    }
}
