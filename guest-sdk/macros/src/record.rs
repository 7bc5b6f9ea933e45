//! `#[derive(Record)]`: reads and writes a struct as a row, and makes the owned twin of a struct that borrows.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};
use std::collections::BTreeSet;
use syn::{
    Attribute, Data, DeriveInput, Error, Expr, ExprLit, ExprUnary, Fields, GenericParam, Lifetime, Lit, LitStr, Result,
    Type, UnOp, Visibility,
};

/// The types whose default is checked by the compiler.
const CHECKED_TYPES: &[&str] = &["bool", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f32", "f64"];

/// A field of the record.
struct RecordField<'a> {
    ident: &'a Ident,
    visibility: &'a Visibility,
    ty: &'a Type,
    options: FieldOptions,
}

/// A `#[record(...)]` attribute.
#[derive(Default)]
struct FieldOptions {
    name: String,
    aliases: Vec<String>,
    default: Option<DefaultValue>,
}

struct DefaultValue {
    expression: Expr,
    json: String,
}

pub fn expand(item: TokenStream) -> Result<TokenStream> {
    let item: DeriveInput = syn::parse2(item)?;
    let lifetime = only_lifetime(&item)?;
    let fields = fields(&item)?;
    let record = Struct { name: &item.ident, lifetime, fields: &fields };
    let implementation = record.implementation();
    if record.lifetime.is_none() {
        return Ok(quote! { #implementation });
    }
    let twin_name = format_ident!("Owned{}", item.ident);
    let twin_types: Vec<Type> = fields.iter().map(|field| owned_type(field.ty)).collect();
    let twin_fields: Vec<_> = fields
        .iter()
        .zip(&twin_types)
        .map(|(field, ty)| RecordField { ty, options: field.options.clone(), ..*field })
        .collect();
    let twin = Struct { name: &twin_name, lifetime: None, fields: &twin_fields };
    let (definition, twin_implementation) = (record.twin(&item.vis, &twin), twin.implementation());
    Ok(quote! { #implementation #definition #twin_implementation })
}

/// Returns the lifetime of a struct that borrows.
fn only_lifetime(item: &DeriveInput) -> Result<Option<Lifetime>> {
    let mut parameters = item.generics.params.iter();
    let lifetime = match parameters.next() {
        None => None,
        Some(GenericParam::Lifetime(parameter)) => Some(parameter.lifetime.clone()),
        Some(_) => return Err(Error::new_spanned(&item.generics, "a record has no type parameters")),
    };
    match parameters.next() {
        None => Ok(lifetime),
        Some(_) => {
            Err(Error::new_spanned(&item.generics, "a record has at most one lifetime, and no other parameters"))
        }
    }
}

fn fields(item: &DeriveInput) -> Result<Vec<RecordField<'_>>> {
    let named = match &item.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(named) if !named.named.is_empty() => named,
            _ => return Err(Error::new_spanned(&item.ident, "a record is a struct with named fields, at least one")),
        },
        _ => return Err(Error::new_spanned(&item.ident, "a record is a struct with named fields")),
    };
    let mut fields = Vec::new();
    let mut names = BTreeSet::new();
    for field in &named.named {
        let Some(ident) = &field.ident else { continue };
        let options = FieldOptions::parse(ident, &field.ty, &field.attrs)?;
        if !names.insert(options.name.clone()) {
            return Err(Error::new(ident.span(), format!("two fields have the name `{}`", options.name)));
        }
        fields.push(RecordField { ident, visibility: &field.vis, ty: &field.ty, options });
    }
    Ok(fields)
}

impl Clone for FieldOptions {
    fn clone(&self) -> Self {
        // The expression of a default is checked once, where the user wrote it.
        let default = self
            .default
            .as_ref()
            .map(|default| DefaultValue { expression: syn::parse_quote! { () }, json: default.json.clone() });
        FieldOptions { name: self.name.clone(), aliases: self.aliases.clone(), default }
    }
}

impl FieldOptions {
    fn parse(ident: &Ident, ty: &Type, attributes: &[Attribute]) -> Result<FieldOptions> {
        let name = ident.to_string().trim_start_matches("r#").to_owned();
        let mut options = FieldOptions { name, ..FieldOptions::default() };
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("record")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("rename") {
                    options.name = name_of_field(&meta.value()?.parse()?)?;
                } else if meta.path.is_ident("alias") {
                    options.aliases.push(name_of_field(&meta.value()?.parse()?)?);
                } else if meta.path.is_ident("default") {
                    let expression: Expr = meta.value()?.parse()?;
                    let json = json(&expression)?;
                    check_default(ty, &expression, &json)?;
                    options.default = Some(DefaultValue { expression, json });
                } else {
                    return Err(meta.error("expected `rename = \"...\"`, `alias = \"...\"` or `default = ...`"));
                }
                Ok(())
            })?;
        }
        Ok(options)
    }
}

fn name_of_field(name: &LitStr) -> Result<String> {
    match name.value() {
        empty if empty.is_empty() => Err(Error::new(name.span(), "the name of a field is not empty")),
        value => Ok(value),
    }
}

/// Returns the JSON of a literal, or of a list of literals.
fn json(expression: &Expr) -> Result<String> {
    let expected = "expected a string, a number, `true`, `false`, or a list of these: `default = 0`";
    match expression {
        Expr::Lit(ExprLit { lit, .. }) => match lit {
            Lit::Str(text) => Ok(json_string(&text.value())),
            Lit::Int(number) => Ok(number.base10_digits().to_owned()),
            Lit::Float(number) => Ok(number.base10_digits().to_owned()),
            Lit::Bool(flag) => Ok(flag.value.to_string()),
            _ => Err(Error::new_spanned(expression, expected)),
        },
        Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) => match &**expr {
            Expr::Lit(ExprLit { lit: Lit::Int(_) | Lit::Float(_), .. }) => Ok(format!("-{}", json(expr)?)),
            _ => Err(Error::new_spanned(expression, expected)),
        },
        Expr::Array(array) => {
            let elements: Vec<String> = array.elems.iter().map(json).collect::<Result<_>>()?;
            Ok(format!("[{}]", elements.join(",")))
        }
        _ => Err(Error::new_spanned(expression, expected)),
    }
}

fn json_string(text: &str) -> String {
    let mut json = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            control if control < ' ' => json.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => json.push(other),
        }
    }
    json.push('"');
    json
}

/// Refuses a default that is no string for a field that is one.
fn check_default(ty: &Type, expression: &Expr, json: &str) -> Result<()> {
    let is_text = match ty {
        Type::Reference(reference) => is_named(&reference.elem, &["str"]),
        ty => is_named(ty, &["String"]),
    };
    match is_text && !json.starts_with('"') {
        true => Err(Error::new_spanned(expression, "the default of a string is a string: `default = \"...\"`")),
        false => Ok(()),
    }
}

/// Whether a type is a path whose last name is one of these.
fn is_named(ty: &Type, names: &[&str]) -> bool {
    match ty {
        Type::Path(path) => path.path.segments.last().is_some_and(|last| names.iter().any(|name| last.ident == name)),
        _ => false,
    }
}

/// Returns the type that a field has in the owned twin.
fn owned_type(ty: &Type) -> Type {
    let ty = replace_lifetimes(quote! { #ty });
    syn::parse_quote! { <#ty as ::cofferdam_sdk::RecordField<'static>>::Owned }
}

/// Replaces every lifetime by `'static`.
fn replace_lifetimes(tokens: TokenStream) -> TokenStream {
    use proc_macro2::{Group, TokenTree};
    let mut replaced = Vec::new();
    let mut after_quote = false;
    for token in tokens {
        let token = match token {
            TokenTree::Ident(ident) if after_quote => TokenTree::Ident(Ident::new("static", ident.span())),
            TokenTree::Group(group) => {
                TokenTree::Group(Group::new(group.delimiter(), replace_lifetimes(group.stream())))
            }
            token => token,
        };
        after_quote = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '\'');
        replaced.push(token);
    }
    replaced.into_iter().collect()
}

/// A struct for which the traits of records are implemented.
struct Struct<'a> {
    name: &'a Ident,
    lifetime: Option<Lifetime>,
    fields: &'a [RecordField<'a>],
}

impl Struct<'_> {
    fn implementation(&self) -> TokenStream {
        let (field, codec) = (self.field_implementation(), self.codec_implementation());
        let state = self.lifetime.is_none().then(|| self.state_implementation());
        quote! { #field #codec #state }
    }

    /// The type with the lifetime of its own, or `'static`.
    fn types(&self) -> (TokenStream, TokenStream) {
        let name = self.name;
        match &self.lifetime {
            Some(lifetime) => (quote! { #name<#lifetime> }, quote! { #name<'static> }),
            None => (quote! { #name }, quote! { #name }),
        }
    }

    /// The type of a value that owns its memory.
    fn owned(&self) -> Ident {
        match &self.lifetime {
            Some(_) => format_ident!("Owned{}", self.name),
            None => self.name.clone(),
        }
    }

    fn field_implementation(&self) -> TokenStream {
        let (ty, _) = self.types();
        let row = self.lifetime.clone().unwrap_or_else(|| Lifetime::new("'row", Span::call_site()));
        let owned = self.owned();
        let idents: Vec<_> = self.fields.iter().map(|field| field.ident).collect();
        let types: Vec<_> = self.fields.iter().map(|field| field.ty).collect();
        let into_owned = match &self.lifetime {
            Some(_) => quote! {
                #owned { #(#idents: <#types as ::cofferdam_sdk::RecordField<#row>>::into_owned(self.#idents)),* }
            },
            None => quote! { self },
        };
        let is_plain = self.fields.iter().all(|field| field.options.is_plain());
        let described = self.fields.iter().map(|field| field.described());
        quote! {
            #[automatically_derived]
            impl<#row> ::cofferdam_sdk::RecordField<#row> for #ty {
                type Owned = #owned;
                const IS_PLAIN: bool = #is_plain;

                fn row_type(depth: usize) -> ::cofferdam_sdk::record::RowType {
                    ::cofferdam_sdk::record::RowType::record(depth, |depth| ::std::vec![#(#described),*])
                }

                #[inline(always)]
                fn read(
                    reader: &mut ::cofferdam_sdk::record::RowReader<#row>,
                ) -> ::core::result::Result<Self, ::cofferdam_sdk::record::RowDefect> {
                    ::core::result::Result::Ok(Self {
                        #(#idents: <#types as ::cofferdam_sdk::RecordField<#row>>::read(reader)?),*
                    })
                }

                #[inline(always)]
                fn write(&self, to: &mut ::std::vec::Vec<u8>) {
                    #(<#types as ::cofferdam_sdk::RecordField<#row>>::write(&self.#idents, to);)*
                }

                fn into_owned(self) -> #owned {
                    #into_owned
                }
            }
        }
    }

    fn codec_implementation(&self) -> TokenStream {
        let (_, codec) = self.types();
        let (name, owned) = (self.name, self.owned());
        let borrowed = self.lifetime.as_ref().map(|_| quote! { <'row> });
        let value = quote! { #name #borrowed };
        let mut written = vec![(quote! {}, quote! { #value }), (quote! { &'value }, quote! { #value })];
        if self.lifetime.is_some() {
            written.extend([(quote! {}, quote! { #owned }), (quote! { &'value }, quote! { #owned })]);
        }
        let encode = written.iter().map(|(reference, written)| {
            let row = (self.lifetime.is_some() && owned != written.to_string()).then(|| quote! { 'row, });
            let by_reference = (!reference.is_empty()).then(|| quote! { 'value, });
            let borrow = reference.is_empty().then(|| quote! { & });
            quote! {
                #[automatically_derived]
                impl<#row #by_reference> ::cofferdam_sdk::codec::Encode<#reference #written> for #codec {
                    #[inline(always)]
                    fn encode(
                        value: #reference #written,
                        to: &mut ::std::vec::Vec<u8>,
                    ) -> ::core::result::Result<(), ::cofferdam_sdk::codec::CodecError> {
                        ::cofferdam_sdk::RecordField::write(#borrow value, to);
                        ::core::result::Result::Ok(())
                    }
                }
            }
        });
        quote! {
            #[automatically_derived]
            impl ::cofferdam_sdk::codec::Codec for #codec {
                const NAME: &'static str = ::cofferdam_sdk::record::CODEC;
                type Owned = #owned;

                fn row() -> ::core::option::Option<::cofferdam_sdk::record::RowType> {
                    ::core::option::Option::Some(<#codec as ::cofferdam_sdk::RecordField<'static>>::row_type(0))
                }
            }

            #[automatically_derived]
            impl ::cofferdam_sdk::codec::Decode for #codec {
                type Value<'row> = #value;

                #[inline(always)]
                fn decode(
                    bytes: &[u8],
                ) -> ::core::result::Result<Self::Value<'_>, ::cofferdam_sdk::codec::CodecError> {
                    ::cofferdam_sdk::record::decode(bytes)
                }

                #[inline(always)]
                fn decode_owned(
                    bytes: &[u8],
                ) -> ::core::result::Result<#owned, ::cofferdam_sdk::codec::CodecError> {
                    ::cofferdam_sdk::record::decode(bytes)
                }
            }

            #(#encode)*
        }
    }

    fn state_implementation(&self) -> TokenStream {
        let name = self.name;
        quote! {
            #[automatically_derived]
            impl ::cofferdam_sdk::StateType for #name {
                type Codec = #name;

                fn shape(shape: &mut ::cofferdam_sdk::Shape) {
                    shape.record::<#name>();
                }
            }

            #[automatically_derived]
            impl ::cofferdam_sdk::codec::CodecFamily for #name {
                type Of<U: 'static> = U;
            }
        }
    }

    /// The definition of the owned twin.
    fn twin(&self, visibility: &Visibility, twin: &Struct<'_>) -> TokenStream {
        let (name, twin_name) = (self.name, twin.name);
        let fields = twin.fields.iter().map(|RecordField { ident, visibility, ty, .. }| {
            let words = format!("See `{name}::{ident}`.");
            quote! { #[doc = #words] #visibility #ident: #ty }
        });
        let words = format!("A [`{name}`] that owns its memory.");
        quote! {
            #[doc = #words]
            #[derive(Debug, Clone, PartialEq)]
            #[allow(dead_code)]
            #visibility struct #twin_name {
                #(#fields),*
            }

            #[automatically_derived]
            impl ::core::convert::From<#name<'_>> for #twin_name {
                fn from(record: #name<'_>) -> Self {
                    ::cofferdam_sdk::RecordField::into_owned(record)
                }
            }
        }
    }
}

impl FieldOptions {
    /// Whether rows have the field under this name only.
    fn is_plain(&self) -> bool {
        self.aliases.is_empty() && self.default.is_none()
    }
}

impl RecordField<'_> {
    /// Makes the expression of the field's description.
    fn described(&self) -> TokenStream {
        let FieldOptions { name, aliases, default } = &self.options;
        let ty = self.ty;
        let check =
            default.as_ref().filter(|_| is_named(ty, CHECKED_TYPES)).map(|DefaultValue { expression, .. }| {
                quote! { let _: #ty = #expression; }
            });
        let default = match default {
            Some(DefaultValue { json, .. }) => quote! { ::core::option::Option::Some(#json) },
            None => quote! { ::core::option::Option::None },
        };
        quote! {
            {
                #check
                ::cofferdam_sdk::record::RowField::of::<#ty>(depth, #name, &[#(#aliases),*], #default)
            }
        }
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
        assert!(error(quote! { enum A {} }).contains("a struct with named fields"));
        assert!(error(quote! { struct A {} }).contains("at least one"));
        assert!(error(quote! { struct A(u64); }).contains("named fields"));
        assert!(error(quote! { struct A<T> { a: T } }).contains("no type parameters"));
        assert!(error(quote! { struct A<'a, 'b> { a: &'a str, b: &'b str } }).contains("at most one lifetime"));
        assert!(error(quote! { struct A { #[record(name = "b")] a: u64 } }).contains("expected `rename"));
        assert!(error(quote! { struct A { #[record(rename = "")] a: u64 } }).contains("not empty"));
        assert!(error(quote! { struct A { a: u64, #[record(rename = "a")] b: u64 } }).contains("the name `a`"));
        assert!(error(quote! { struct A { #[record(default = f())] a: u64 } }).contains("expected a string, a number"));
        assert!(error(quote! { struct A { #[record(default = 1)] a: String } }).contains("a string is a string"));
    }

    #[test]
    fn defaults_are_json() {
        let json = |expression: TokenStream| json(&syn::parse2(expression).unwrap()).unwrap();
        assert_eq!(json(quote! { "a\"\\\n" }), r#""a\"\\\u000a""#);
        assert_eq!((json(quote! { -1_000i64 }), json(quote! { 2.5 })), ("-1000".into(), "2.5".into()));
        assert_eq!((json(quote! { true }), json(quote! { [1, "b"] })), ("true".into(), "[1,\"b\"]".into()));
    }

    #[test]
    fn the_owned_twin_has_no_lifetime() {
        let code = expand(quote! { struct A<'a> { a: &'a str, b: Option<B<'a>> } }).unwrap().to_string();
        for part in ["struct OwnedA", "& 'static str as", "Option < B < 'static > > as"] {
            assert!(code.contains(part), "{part}: {code}");
        }
    }
}
