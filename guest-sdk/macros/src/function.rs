//! `#[function]`: implements `Function` for the type of an `impl`, with the items of that `impl` that all functions have in common.

use crate::names::kebab_case;
use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::parse::Parser;
use syn::{Error, Ident, ImplItem, ItemImpl, LitStr, Path, Result, Token, Type, punctuated::Punctuated};

/// The arguments of the attribute.
#[derive(Default)]
struct Arguments {
    name: Option<LitStr>,
    timers: Vec<Ident>,
}

pub fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let arguments = Arguments::parse(arguments)?;
    let mut item: ItemImpl = syn::parse2(item)?;
    print_to_the_log(&mut item);
    let function = implement_function(&arguments, &mut item)?;
    Ok(quote! { #item #function })
}

/// Makes `println!` and similar macros write to the function's log. The macros of the standard library write nowhere in a component.
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

impl Arguments {
    fn parse(arguments: TokenStream) -> Result<Arguments> {
        let mut parsed = Arguments::default();
        let parser = syn::meta::parser(|meta| {
            if meta.path.is_ident("name") {
                parsed.name = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("timers") {
                parsed.timers = list(&meta)?;
            } else if ["states", "broadcast", "side_outputs"].iter().any(|name| meta.path.is_ident(name)) {
                return Err(meta.error("states and side outputs are fields of a struct with `#[derive(Function)]`"));
            } else {
                return Err(meta.error("expected `name = \"...\"` or `timers(...)`"));
            }
            Ok(())
        });
        parser.parse2(arguments)?;
        Ok(parsed)
    }

    /// Makes the expression of `Function::TIMERS`.
    fn timers(&self) -> Result<TokenStream> {
        let mut seen: Vec<String> = Vec::new();
        let mut domains = TokenStream::new();
        for timer in &self.timers {
            let name = timer.to_string();
            domains.extend(match name.as_str() {
                _ if seen.contains(&name) => return Err(Error::new(timer.span(), "named twice")),
                "event" => quote! { ::cofferdam_sdk::TimeDomain::Event, },
                "processing" => quote! { ::cofferdam_sdk::TimeDomain::Processing, },
                _ => return Err(Error::new(timer.span(), "expected `event` or `processing`")),
            });
            seen.push(name);
        }
        Ok(quote! { &[#domains] })
    }
}

/// Reads `(A, B, ...)`.
pub fn list<T: syn::parse::Parse>(meta: &syn::meta::ParseNestedMeta<'_>) -> Result<Vec<T>> {
    let content;
    syn::parenthesized!(content in meta.input);
    Ok(Punctuated::<T, Token![,]>::parse_terminated(&content)?.into_iter().collect())
}

/// The properties of the functions of one trait.
struct Family {
    /// The name of the trait.
    function: &'static str,
    /// The name of the kind in `cofferdam_sdk::kinds`.
    kind: &'static str,
    /// Whether the function sees keys.
    has_key: bool,
    /// The type of the trait that names the first input, if it is not `In`.
    first: Option<&'static str>,
    /// The type of the trait that names the second input, if there is one.
    second: Option<&'static str>,
    /// Whether the function writes what it reads.
    writes_in: bool,
    /// Which of `states`, `broadcast states`, `side outputs` and `timers` the function may have.
    may_have: &'static [&'static str],
    /// Whether windows store an accumulator for it.
    folds: bool,
}

const STATES: &str = "states";
const BROADCAST_STATES: &str = "broadcast states";
const SIDE_OUTPUTS: &str = "side outputs";
const TIMERS: &str = "timers";

const ONE_INPUT: Family = Family {
    function: "",
    kind: "",
    has_key: true,
    first: None,
    second: None,
    writes_in: false,
    may_have: &[SIDE_OUTPUTS],
    folds: false,
};
const TWO_INPUTS: Family = Family { first: Some("First"), second: Some("Second"), ..ONE_INPUT };

const FAMILIES: &[Family] = &[
    Family { function: "MapFunction", kind: "Map", has_key: false, ..ONE_INPUT },
    Family { function: "FlatMapFunction", kind: "FlatMap", has_key: false, ..ONE_INPUT },
    Family {
        function: "KeyedProcessFunction",
        kind: "KeyedProcess",
        may_have: &[STATES, SIDE_OUTPUTS, TIMERS],
        ..ONE_INPUT
    },
    Family {
        function: "BroadcastProcessFunction",
        kind: "BroadcastProcess",
        second: Some("Broadcast"),
        may_have: &[STATES, BROADCAST_STATES, SIDE_OUTPUTS, TIMERS],
        ..ONE_INPUT
    },
    Family {
        function: "CoProcessFunction",
        kind: "CoProcess",
        may_have: &[STATES, SIDE_OUTPUTS, TIMERS],
        ..TWO_INPUTS
    },
    Family { function: "AggregateFunction", kind: "Aggregate", may_have: &[], folds: true, ..ONE_INPUT },
    Family {
        function: "ReduceFunction",
        kind: "Reduce",
        has_key: false,
        writes_in: true,
        may_have: &[],
        folds: true,
        ..ONE_INPUT
    },
    Family { function: "ProcessWindowFunction", kind: "ProcessWindow", may_have: &[STATES, SIDE_OUTPUTS], ..ONE_INPUT },
    Family { function: "CoGroupFunction", kind: "CoGroup", may_have: &[STATES, SIDE_OUTPUTS], ..TWO_INPUTS },
    Family { function: "JoinFunction", kind: "Join", ..TWO_INPUTS },
    Family { function: "IntervalJoinFunction", kind: "IntervalJoin", ..TWO_INPUTS },
];

impl Family {
    /// Says that functions of this family cannot have something.
    fn cannot_have(&self, what: &str) -> String {
        let may = FAMILIES.iter().filter(|family| family.may_have.contains(&what));
        let may: Vec<_> = may.map(|family| format!("`{}`", family.function)).collect();
        format!("`{}` cannot have {what}; these can: {}", self.function, may.join(", "))
    }

    /// Fails the build if the struct has fields that functions of this family cannot have.
    fn check_fields(&self, self_ty: &Type) -> TokenStream {
        let flags =
            [(STATES, "HAS_STATES"), (BROADCAST_STATES, "HAS_BROADCAST_STATES"), (SIDE_OUTPUTS, "HAS_SIDE_OUTPUTS")];
        let refused = flags.into_iter().filter(|(what, _)| !self.may_have.contains(what)).map(|(what, flag)| {
            let (flag, message) = (Ident::new(flag, Span::call_site()), self.cannot_have(what));
            quote! {
                const _: () = ::core::assert!(!<#self_ty as ::cofferdam_sdk::FunctionFields>::#flag, #message);
            }
        });
        quote! { #(#refused)* }
    }
}

/// The items of an `impl` that belong to `Function`.
#[derive(Default)]
struct CommonItems {
    key: Option<ImplItem>,
    input: Option<ImplItem>,
    output: Option<ImplItem>,
    output_key: Option<ImplItem>,
    open: Option<ImplItem>,
    on_timer: Option<ImplItem>,
}

impl CommonItems {
    /// Takes them out of the `impl`.
    fn take(item: &mut ItemImpl) -> CommonItems {
        let mut common = CommonItems::default();
        for impl_item in std::mem::take(&mut item.items) {
            let name = match &impl_item {
                ImplItem::Type(ty) => ty.ident.to_string(),
                ImplItem::Fn(method) => method.sig.ident.to_string(),
                _ => String::new(),
            };
            let place = match name.as_str() {
                "Key" => &mut common.key,
                "In" => &mut common.input,
                "Out" => &mut common.output,
                "OutKey" => &mut common.output_key,
                "open" => &mut common.open,
                "on_timer" => &mut common.on_timer,
                _ => {
                    item.items.push(impl_item);
                    continue;
                }
            };
            match place {
                // The compiler reports the second one.
                Some(_) => item.items.push(impl_item),
                None => *place = Some(impl_item),
            }
        }
        common
    }
}

/// Names the trait of the `impl` in messages and looks up its family.
fn family_of(item: &ItemImpl) -> Result<(&'static Family, Path)> {
    let names = || FAMILIES.iter().map(|family| format!("`{}`", family.function)).collect::<Vec<_>>().join(", ");
    let expected = || format!("`#[function]` goes on the `impl` of one of these traits: {}", names());
    let Some((_, path, _)) = &item.trait_ else { return Err(Error::new_spanned(&item.self_ty, expected())) };
    if !item.generics.params.is_empty() {
        return Err(Error::new_spanned(&item.generics, "a function that is exported has no type parameters"));
    }
    let function = path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
    match FAMILIES.iter().find(|family| family.function == function) {
        Some(family) => Ok((family, path.clone())),
        None => Err(Error::new_spanned(path, expected())),
    }
}

fn implement_function(arguments: &Arguments, item: &mut ItemImpl) -> Result<TokenStream> {
    let (family, path) = family_of(item)?;
    let common = CommonItems::take(item);
    check_timers(family, arguments, &common, &path)?;
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => LitStr::new(&kebab_case(&type_name(&item.self_ty)?), Span::call_site()),
    };
    let types = common_types(family, &common, &path)?;
    let kind = Ident::new(family.kind, Span::call_site());
    let (self_ty, timers, checks) = (&item.self_ty, arguments.timers()?, family.check_fields(&item.self_ty));
    let (open, on_timer) = (&common.open, &common.on_timer);
    let declare = family.folds.then(|| {
        quote! {
            fn declare(declaration: &mut ::cofferdam_sdk::Declaration) {
                declaration.accumulator(<Self as #path>::ACCUMULATOR);
            }
        }
    });
    let two_inputs = family.second.map(|second| {
        let second = Ident::new(second, Span::call_site());
        quote! {
            impl ::cofferdam_sdk::TwoInputs for #self_ty {
                type Second = <Self as #path>::#second;
            }
        }
    });
    Ok(quote! {
        impl ::cofferdam_sdk::Function for #self_ty {
            #types
            type Kind = ::cofferdam_sdk::kinds::#kind;
            const NAME: &'static str = #name;
            const TIMERS: &'static [::cofferdam_sdk::TimeDomain] = #timers;
            #declare
            #open
            #on_timer
        }

        #two_inputs
        #checks
    })
}

fn check_timers(family: &Family, arguments: &Arguments, common: &CommonItems, path: &Path) -> Result<()> {
    let uses_timers = !arguments.timers.is_empty() || common.on_timer.is_some();
    if uses_timers && !family.may_have.contains(&TIMERS) {
        return Err(Error::new_spanned(path, family.cannot_have(TIMERS)));
    }
    match &common.on_timer {
        Some(on_timer) if arguments.timers.is_empty() => {
            let message = "declare the clocks of the timers: `#[function(timers(event))]` or `timers(processing)`";
            Err(Error::new_spanned(on_timer, message))
        }
        _ => Ok(()),
    }
}

/// The types `Key`, `In`, `Out` and `OutKey` of `Function`.
fn common_types(family: &Family, common: &CommonItems, path: &Path) -> Result<TokenStream> {
    let missing = |ty: &str, example: &str| {
        let message = format!("`{}` needs `type {ty} = ...;`, such as `type {ty} = {example};`", family.function);
        Error::new_spanned(path, message)
    };
    let needless =
        |item: &ImplItem, ty: &str| Err(Error::new_spanned(item, format!("`{}` has no `type {ty}`", family.function)));
    let key = match (&common.key, family.has_key) {
        (Some(key), true) => quote! { #key },
        (None, true) => return Err(missing("Key", "String")),
        (Some(key), false) => return needless(key, "Key"),
        (None, false) => quote! { type Key = ::cofferdam_sdk::NoKey; },
    };
    let input = match (&common.input, family.first) {
        (Some(input), None) => quote! { #input },
        (None, None) => return Err(missing("In", "Text")),
        (Some(input), Some(_)) => return needless(input, "In"),
        (None, Some(first)) => {
            let first = Ident::new(first, Span::call_site());
            quote! { type In = <Self as #path>::#first; }
        }
    };
    let output = match (&common.output, family.writes_in) {
        (Some(output), false) => quote! { #output },
        (None, false) => return Err(missing("Out", "Text")),
        (Some(output), true) => return needless(output, "Out"),
        (None, true) => quote! { type Out = <Self as ::cofferdam_sdk::Function>::In; },
    };
    let output_key = match (&common.output_key, family.folds) {
        (Some(output_key), false) => quote! { #output_key },
        (Some(output_key), true) => return needless(output_key, "OutKey"),
        (None, _) => quote! { type OutKey = ::cofferdam_sdk::NoKey; },
    };
    Ok(quote! { #key #input #output #output_key })
}

fn type_name(ty: &Type) -> Result<String> {
    match ty {
        Type::Path(path) if !path.path.segments.is_empty() => {
            Ok(path.path.segments[path.path.segments.len() - 1].ident.to_string())
        }
        _ => Err(Error::new_spanned(ty.to_token_stream(), "name the function: `#[function(name = \"...\")]`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named() {
        let on = |arguments: TokenStream, item: TokenStream| expand(arguments, item).unwrap_err().to_string();
        let map = quote! { impl MapFunction for A { type In = Text; type Out = Text; } };
        assert!(on(quote! { state(COUNT) }, map.clone()).contains("expected `name"));
        assert!(on(quote! { states(COUNT) }, map).contains("fields of a struct with `#[derive(Function)]`"));
        assert!(
            on(quote! {}, quote! { impl MapFunction for A { type In = Text; } }).contains("needs `type Out = ...;`")
        );
        let keyed = quote! { impl KeyedProcessFunction for A { type In = Text; type Out = Text; } };
        assert!(on(quote! {}, keyed.clone()).contains("such as `type Key = String;`"));
        assert!(
            on(
                quote! { timers(wall) },
                quote! { impl KeyedProcessFunction for A { type Key = String; type In = Text; type Out = Text; } }
            )
            .contains("`event`")
        );
        let window = quote! { impl ProcessWindowFunction for A {} };
        assert!(on(quote! { timers(event) }, window).contains("cannot have timers; these can: `Keyed"));
        let timer = quote! { impl KeyedProcessFunction for A { fn on_timer(&mut self) {} } };
        assert!(on(quote! {}, timer).contains("declare the clocks"));
        let join = quote! { impl cofferdam_sdk::JoinFunction for A { type Key = String; type In = Text; } };
        assert!(on(quote! {}, join).contains("`JoinFunction` has no `type In`"));
        assert!(on(quote! {}, quote! { impl Clone for A {} }).contains("`IntervalJoinFunction`"));
        assert!(on(quote! {}, quote! { impl A {} }).contains("goes on the `impl`"));
    }
}
