//! `#[derive(StateType)]`: writes down fields and variants in order.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, Result};

pub fn expand(item: TokenStream) -> Result<TokenStream> {
    let item: DeriveInput = syn::parse2(item)?;
    if !item.generics.params.is_empty() {
        return Err(Error::new_spanned(&item.generics, "a type with parameters implements `StateType` by hand"));
    }
    let body = match &item.data {
        // As the empty tuple, which it is written as.
        Data::Struct(data) if matches!(data.fields, Fields::Unit) => quote! { shape.word("()"); },
        Data::Struct(data) => fields(&data.fields),
        Data::Enum(data) => {
            let variants = data.variants.iter().map(|variant| {
                let (name, fields) = (variant.ident.to_string(), fields(&variant.fields));
                quote! {
                    shape.word(#name);
                    #fields
                    shape.word("|");
                }
            });
            quote! {
                shape.word("enum<");
                #(#variants)*
                shape.word(">");
            }
        }
        Data::Union(data) => return Err(Error::new_spanned(data.union_token, "a union cannot be kept in state")),
    };
    let name = &item.ident;
    Ok(quote! {
        impl ::cofferdam_sdk::StateType for #name {
            type Codec = ::cofferdam_sdk::codec::Postcard<Self>;

            fn shape(shape: &mut ::cofferdam_sdk::Shape) {
                #body
            }
        }
    })
}

fn fields(fields: &Fields) -> TokenStream {
    match fields {
        Fields::Named(named) => {
            let fields = named.named.iter().map(|field| {
                let name = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
                let ty = &field.ty;
                quote! { shape.field::<#ty>(#name); }
            });
            quote! { shape.word("{"); #(#fields)* shape.word("}"); }
        }
        Fields::Unnamed(unnamed) => {
            let types = unnamed.unnamed.iter().map(|field| &field.ty);
            quote! { shape.word("("); #(shape.inner::<#types>(); shape.word(",");)* shape.word(")"); }
        }
        Fields::Unit => quote! {},
    }
}
