//! `#[function]`: reads the line, keeps the `impl` as it is, and writes `Function` for its type.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::parse::Parser;
use syn::{Error, Ident, ItemImpl, LitStr, Path, Result, Token, Type, punctuated::Punctuated};

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
    let item: ItemImpl = syn::parse2(item)?;
    let function = write_function(&line, &item)?;
    Ok(quote! { #item #function })
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

fn write_function(line: &Line, item: &ItemImpl) -> Result<TokenStream> {
    const EXPECTED: &str = "`#[function]` goes on the `impl` of `MapFunction`, `FlatMapFunction`, \
        `KeyedProcessFunction` or `BroadcastProcessFunction` for a type";
    let Some((_, path, _)) = &item.trait_ else { return Err(Error::new_spanned(&item.self_ty, EXPECTED)) };
    if !item.generics.params.is_empty() {
        return Err(Error::new_spanned(&item.generics, "a function that is exported has no type parameters"));
    }
    let kind = path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
    let process_element = quote! { <Self as #path>::process_element(self, value, ctx, out) };
    let (keyed, call, others) = match kind.as_str() {
        "MapFunction" => (false, quote! { out.emit(<Self as #path>::map(self, value, ctx)?); Ok(()) }, None),
        "FlatMapFunction" => (false, quote! { <Self as #path>::flat_map(self, value, ctx, out) }, None),
        "KeyedProcessFunction" => (true, process_element, Some(write_timer(path))),
        "BroadcastProcessFunction" => {
            let (timer, broadcast) = (write_timer(path), write_broadcast(path));
            (true, process_element, Some(quote! { #timer #broadcast }))
        }
        _ => return Err(Error::new_spanned(path, EXPECTED)),
    };
    let uses_keys = !line.states.is_empty() || !line.timers.is_empty();
    if uses_keys && !keyed {
        return Err(Error::new_spanned(path, "states and timers need a `KeyedProcessFunction`"));
    }
    if !line.broadcast.is_empty() && kind != "BroadcastProcessFunction" {
        return Err(Error::new_spanned(path, "broadcast state needs a `BroadcastProcessFunction`"));
    }
    let name = match &line.name {
        Some(name) => name.clone(),
        None => LitStr::new(&kebab_case(&type_name(&item.self_ty)?), Span::call_site()),
    };
    let (self_ty, declarations) = (&item.self_ty, line.declarations()?);
    Ok(quote! {
        impl ::cofferdam_sdk::Function for #self_ty {
            type Input = <Self as #path>::In;
            type Output = <Self as #path>::Out;
            const NAME: &'static str = #name;
            const KEYED: bool = #keyed;

            fn declare(declaration: &mut ::cofferdam_sdk::Declaration) {
                let _ = &declaration;
                #declarations
            }

            fn open_function(&mut self, ctx: &mut ::cofferdam_sdk::Context) -> ::cofferdam_sdk::Result {
                <Self as #path>::open(self, ctx)
            }

            #[inline]
            fn element(
                &mut self,
                value: <Self::Input as ::cofferdam_sdk::codec::Decode>::Value<'_>,
                ctx: &mut ::cofferdam_sdk::Context,
                out: &mut ::cofferdam_sdk::Collector<Self::Output>,
            ) -> ::cofferdam_sdk::Result {
                #call
            }

            #others
        }
    })
}

fn write_timer(path: &Path) -> TokenStream {
    quote! {
        fn timer(
            &mut self,
            timer: ::cofferdam_sdk::Timer,
            ctx: &mut ::cofferdam_sdk::Context,
            out: &mut ::cofferdam_sdk::Collector<Self::Output>,
        ) -> ::cofferdam_sdk::Result {
            <Self as #path>::on_timer(self, timer, ctx, out)
        }
    }
}

fn write_broadcast(path: &Path) -> TokenStream {
    quote! {
        const BROADCAST: ::core::option::Option<&'static str> =
            ::core::option::Option::Some(<<Self as #path>::Broadcast as ::cofferdam_sdk::codec::Codec>::NAME);

        fn broadcast_element(
            &mut self,
            value: &[u8],
            ctx: &mut ::cofferdam_sdk::Context,
            out: &mut ::cofferdam_sdk::Collector<Self::Output>,
        ) -> ::cofferdam_sdk::Result {
            let value = <<Self as #path>::Broadcast as ::cofferdam_sdk::codec::Decode>::decode(value)
                .map_err(|error| ::std::format!("broadcast input is not {error}"))?;
            <Self as #path>::process_broadcast(self, value, &mut ::cofferdam_sdk::BroadcastContext::new(ctx), out)
        }
    }
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
        assert!(on(quote! { states(COUNT) }, map).contains("need a `KeyedProcessFunction`"));
        let keyed = quote! { impl KeyedProcessFunction for A {} };
        assert!(on(quote! { broadcast(RULES) }, keyed).contains("needs a `BroadcastProcessFunction`"));
        assert!(on(quote! {}, quote! { impl A {} }).contains("goes on the `impl`"));
        assert!(on(quote! { timers(wall) }, quote! { impl KeyedProcessFunction for A {} }).contains("`event`"));
    }
}
