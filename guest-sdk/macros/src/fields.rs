//! `#[derive(Function)]`: declares the states and side outputs among a struct's fields, and makes the struct.

use crate::names::kebab_case;
use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::{Data, DeriveInput, Error, Expr, Field, Fields, LitStr, Result, Token, Type};

const STATES: &[&str] = &["ValueState", "ListState", "MapState", "ReducingState", "AggregatingState", "BroadcastState"];

/// A field, as the derive handles it.
enum FunctionField {
    State(StateAttribute),
    /// A side output with this name.
    SideOutput(LitStr),
    Plain,
}

/// A `#[state(...)]` attribute.
struct StateAttribute {
    name: LitStr,
    ttl: Option<Expr>,
    /// Older forms that a restore reads, and that it can go back to.
    older: Vec<(Direction, OlderForm)>,
}

#[derive(Clone, Copy)]
enum Direction {
    From,
    To,
}

/// `Old`, or `Old as Codec`.
struct OlderForm {
    ty: Type,
    codec: Option<Type>,
}

impl syn::parse::Parse for OlderForm {
    fn parse(input: syn::parse::ParseStream) -> Result<Self> {
        let ty = input.parse()?;
        let codec = if input.parse::<Option<Token![as]>>()?.is_some() { Some(input.parse()?) } else { None };
        Ok(OlderForm { ty, codec })
    }
}

pub fn expand(item: TokenStream) -> Result<TokenStream> {
    let item: DeriveInput = syn::parse2(item)?;
    if !item.generics.params.is_empty() {
        return Err(Error::new_spanned(&item.generics, "a function has no type parameters"));
    }
    let fields: Vec<&Field> = match &item.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => fields.named.iter().collect(),
            Fields::Unit => Vec::new(),
            Fields::Unnamed(fields) => {
                return Err(Error::new_spanned(fields, "name the fields: states and side outputs have names"));
            }
        },
        _ => return Err(Error::new_spanned(&item.ident, "a function is a struct")),
    };
    let (mut types, mut handles, mut declarations, mut values) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for field in fields {
        let (Some(ident), ty) = (&field.ident, &field.ty) else { continue };
        match FunctionField::parse(field, ident)? {
            FunctionField::State(state) => {
                let name = &state.name;
                declarations.push(state.declaration(ty));
                values.push(quote! { #ident: <#ty as ::cofferdam_sdk::FieldType>::bind(binder, #name) });
                handles.push(ident);
                types.push(ty);
            }
            FunctionField::SideOutput(name) => {
                declarations.push(quote! { declaration.side_output::<#ty>(#name); });
                values.push(quote! { #ident: <#ty as ::cofferdam_sdk::FieldType>::bind(binder, #name) });
                handles.push(ident);
                types.push(ty);
            }
            FunctionField::Plain => values.push(quote! { #ident: ::core::default::Default::default() }),
        }
    }
    let name = &item.ident;
    Ok(quote! {
        impl ::cofferdam_sdk::FunctionFields for #name {
            const HAS_STATES: bool = false #(|| <#types as ::cofferdam_sdk::FieldType>::IS_KEYED_STATE)*;
            const HAS_BROADCAST_STATES: bool = false #(|| <#types as ::cofferdam_sdk::FieldType>::IS_BROADCAST_STATE)*;
            const HAS_SIDE_OUTPUTS: bool = false #(|| <#types as ::cofferdam_sdk::FieldType>::IS_SIDE_OUTPUT)*;

            fn declare_fields(declaration: &mut ::cofferdam_sdk::Declaration) {
                let _ = &declaration;
                #(#declarations)*
            }

            fn create(binder: &::cofferdam_sdk::Binder) -> Self {
                let _ = binder;
                #name { #(#values),* }
            }

            fn visit_fields(&mut self, visit: &mut dyn ::core::ops::FnMut(&mut dyn ::cofferdam_sdk::Field)) {
                let _ = &visit;
                #(visit(&mut self.#handles);)*
            }
        }
    })
}

impl FunctionField {
    fn parse(field: &Field, ident: &Ident) -> Result<FunctionField> {
        let mut name = LitStr::new(&kebab_case(&ident.to_string()), ident.span());
        let (mut ttl, mut older) = (None, Vec::new());
        let is_named = |names: &[&str]| names.contains(&type_name(&field.ty).as_str());
        let (mut is_state, mut is_side_output) = (is_named(STATES), is_named(&["SideOutput"]));
        for attribute in &field.attrs {
            if attribute.path().is_ident("state") {
                is_state = true;
                if matches!(attribute.meta, syn::Meta::Path(_)) {
                    continue;
                }
                attribute.parse_nested_meta(|meta| {
                    if meta.path.is_ident("name") {
                        name = meta.value()?.parse()?;
                    } else if meta.path.is_ident("ttl") {
                        ttl = Some(meta.value()?.parse()?);
                    } else if meta.path.is_ident("migrate_from") {
                        let forms = crate::function::list::<OlderForm>(&meta)?;
                        older.extend(forms.into_iter().map(|form| (Direction::From, form)));
                    } else if meta.path.is_ident("migrate_to") {
                        let forms = crate::function::list::<OlderForm>(&meta)?;
                        older.extend(forms.into_iter().map(|form| (Direction::To, form)));
                    } else {
                        let expected =
                            "expected `name = \"...\"`, `ttl = ...`, `migrate_from(...)` or `migrate_to(...)`";
                        return Err(meta.error(expected));
                    }
                    Ok(())
                })?;
            } else if attribute.path().is_ident("side_output") {
                is_side_output = true;
                if matches!(attribute.meta, syn::Meta::Path(_)) {
                    continue;
                }
                attribute.parse_nested_meta(|meta| {
                    if !meta.path.is_ident("name") {
                        return Err(meta.error("expected `name = \"...\"`"));
                    }
                    name = meta.value()?.parse()?;
                    Ok(())
                })?;
            }
        }
        match (is_state, is_side_output) {
            (true, true) => Err(Error::new_spanned(field, "a field is a state or a side output, not both")),
            (true, false) => Ok(FunctionField::State(StateAttribute { name, ttl, older })),
            (false, true) => Ok(FunctionField::SideOutput(name)),
            (false, false) => Ok(FunctionField::Plain),
        }
    }
}

impl StateAttribute {
    /// Makes the call that declares the state.
    fn declaration(&self, ty: &Type) -> TokenStream {
        let name = &self.name;
        let ttl = self.ttl.as_ref().map(|ttl| quote! { .ttl(#ttl) });
        let older = self.older.iter().map(|(direction, OlderForm { ty, codec })| match (direction, codec) {
            (Direction::From, Some(codec)) => quote! { .migrate_from_codec::<#ty, #codec>() },
            (Direction::From, None) => quote! { .migrate_from::<#ty>() },
            (Direction::To, Some(codec)) => quote! { .migrate_to_codec::<#ty, #codec>() },
            (Direction::To, None) => quote! { .migrate_to::<#ty>() },
        });
        quote! {
            declaration.state(::cofferdam_sdk::StateOptions::<#ty>::new(#name) #ttl #(#older)*);
        }
    }
}

/// Returns the last name in the path of a type.
fn type_name(ty: &Type) -> String {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(item: TokenStream) -> String {
        expand(item).unwrap_err().to_string()
    }

    #[test]
    fn mistakes_are_named() {
        assert!(error(quote! { struct A<T> { a: ValueState<T> } }).contains("no type parameters"));
        assert!(error(quote! { struct A(ValueState<u64>); }).contains("name the fields"));
        assert!(error(quote! { enum A {} }).contains("a function is a struct"));
        assert!(error(quote! { struct A { #[state(tll = 1)] a: ValueState<u64> } }).contains("`ttl = ...`"));
        assert!(error(quote! { struct A { #[side_output(ttl = 1)] a: SideOutput<Text> } }).contains("expected `name"));
        assert!(error(quote! { struct A { #[state] a: SideOutput<Text> } }).contains("not both"));
    }

    #[test]
    fn a_state_is_declared_by_its_field() {
        let code = expand(
            quote! { struct A { #[state(ttl = HOUR, migrate_from(Old))] by_name: MapState<String, u8>, n: u8 } },
        );
        let code = code.unwrap().to_string();
        for part in ["\"by-name\"", ". ttl (HOUR)", "migrate_from :: < Old >", "n : :: core :: default"] {
            assert!(code.contains(part), "{code}");
        }
    }
}
