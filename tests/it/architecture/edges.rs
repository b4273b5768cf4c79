//! Finds which folder of the library uses which, in every form of a path that Rust has.

use super::sources;
use proc_macro2::{TokenStream, TokenTree};
use std::{collections::BTreeMap, fmt};
use syn::{
    Attribute, Item, ItemMod, ItemUse, Lit, Macro, Meta, Path, UseTree, Visibility,
    visit::{self, Visit},
};

/// A module uses something in another folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    from: Vec<String>,
    to: Vec<String>,
}

impl Edge {
    /// The folders at both ends.
    pub(super) fn folders(&self) -> (&str, &str) {
        (&self.from[0], &self.to[0])
    }
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.from.join("::"), self.to.join("::"))
    }
}

/// The contents of `src/lib.rs`: the folders in their order, and the root's re-exports.
pub(super) struct Crate {
    folders: Vec<String>,
    /// The root's re-exports: each name, and the path that it stands for.
    root: BTreeMap<String, Vec<String>>,
}

impl Crate {
    pub(super) fn read() -> Self {
        let mut this = Self {
            folders: Vec::new(),
            root: BTreeMap::new(),
        };
        let mut uses = Vec::new();
        for item in syn::parse_file(&sources::read("src/lib.rs")).unwrap().items {
            match item {
                Item::Mod(item) if item.content.is_none() => {
                    this.folders.push(item.ident.to_string());
                }
                Item::Use(item) => leaves(&item.tree, &mut Vec::new(), &mut uses),
                _ => {}
            }
        }
        for used in uses {
            this.root.insert(used.name, used.path);
        }
        this
    }

    fn floor(&self, folder: &str) -> usize {
        let floor = self.folders.iter().position(|known| known == folder);
        floor.unwrap_or_else(|| panic!("src/lib.rs has no `mod {folder};`"))
    }

    pub(super) fn is_upward(&self, edge: &Edge) -> bool {
        let (from, to) = edge.folders();
        self.floor(to) > self.floor(from)
    }

    /// The edges to other folders from the file of `module`.
    pub(super) fn edges(&self, module: &[String], code: &str) -> Vec<Edge> {
        let file =
            syn::parse_file(code).unwrap_or_else(|error| panic!("{}: {error}", module.join("::")));
        let mut visitor = Paths {
            module: module.to_vec(),
            found: Vec::new(),
        };
        visitor.visit_file(&file);
        let mut edges = Vec::new();
        for Found { module, path } in visitor.found {
            if let Some(to) = self.resolve(&module, &path) {
                edges.push(Edge { from: module, to });
            }
        }
        edges
    }

    /// Where a path leads, if that is in another folder of the library.
    fn resolve(&self, module: &[String], path: &[String]) -> Option<Vec<String>> {
        let mut at = match path[0].as_str() {
            "crate" => Vec::new(),
            "super" => module[..module.len() - 1].to_vec(),
            _ => return None,
        };
        let mut rest = &path[1..];
        while rest.first().is_some_and(|part| part == "super") {
            at.pop();
            rest = &rest[1..];
        }
        at.extend_from_slice(rest);
        let name = at.first().unwrap_or_else(|| {
            panic!(
                "{} names the root of the crate as a whole: name what it uses",
                module.join("::")
            )
        });
        if let Some(real) = self.root.get(name) {
            at.splice(..1, real.iter().cloned());
        }
        if self.folders.contains(&at[0]) {
            (at[0] != module[0]).then_some(at)
        } else {
            panic!(
                "{} uses {}, which no `mod` or `use` of src/lib.rs declares",
                module.join("::"),
                at.join("::")
            )
        }
    }
}

/// What a `use` imports: its name in the file, and where it is.
struct Used {
    name: String,
    path: Vec<String>,
}

/// Takes a `use` apart into the single paths that it names.
fn leaves(tree: &UseTree, before: &mut Vec<String>, found: &mut Vec<Used>) {
    let mut leaf = |last: Option<String>, name: String| {
        let mut path = before.clone();
        path.extend(last);
        if path.first().is_some_and(|first| first == "self") {
            path.remove(0);
        }
        found.push(Used { name, path });
    };
    match tree {
        UseTree::Path(tree) => {
            before.push(tree.ident.to_string());
            leaves(&tree.tree, before, found);
            before.pop();
        }
        UseTree::Group(tree) => tree
            .items
            .iter()
            .for_each(|item| leaves(item, before, found)),
        UseTree::Glob(_) => leaf(None, "*".to_owned()),
        UseTree::Name(tree) if tree.ident == "self" => {
            leaf(None, before.last().cloned().unwrap_or_default());
        }
        UseTree::Name(tree) => leaf(Some(tree.ident.to_string()), tree.ident.to_string()),
        UseTree::Rename(tree) if tree.ident == "self" => leaf(None, tree.rename.to_string()),
        UseTree::Rename(tree) => leaf(Some(tree.ident.to_string()), tree.rename.to_string()),
    }
}

/// A path, and the module that names it.
struct Found {
    module: Vec<String>,
    path: Vec<String>,
}

/// Collects every path of a file that begins at the root or above the file: in `use`, expressions, types, patterns,
/// visibilities, attributes and the tokens of macros.
struct Paths {
    module: Vec<String>,
    found: Vec<Found>,
}

impl Paths {
    fn add(&mut self, mut path: Vec<String>) {
        if path.first().is_some_and(|first| first == "self") {
            path.remove(0);
        }
        if path
            .first()
            .is_some_and(|first| first == "crate" || first == "super")
        {
            self.found.push(Found {
                module: self.module.clone(),
                path,
            });
        }
    }

    /// Macro tokens have no syntax: each `crate::…` or `super::…` counts, also in a string that is a path.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for (at, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(ident)
                    if (ident == "crate" || ident == "super" || ident == "self")
                        && !ends_in_path_separator(&tokens[..at]) =>
                {
                    self.token_path(&tokens[at..]);
                }
                TokenTree::Literal(literal) => self.text(&literal.to_string()),
                _ => {}
            }
        }
    }

    /// The path at the start of `tokens`. It may end in a group, as a `use` does.
    fn token_path(&mut self, tokens: &[TokenTree]) {
        let (mut path, mut rest) = (Vec::new(), tokens);
        loop {
            match rest {
                [TokenTree::Ident(part), after @ ..] => {
                    path.push(part.to_string());
                    rest = after;
                }
                [TokenTree::Group(group), ..] if !path.is_empty() => {
                    let tree = syn::parse2::<UseTree>(TokenTree::Group(group.clone()).into());
                    if let Ok(tree) = tree {
                        self.use_tree(&tree, path);
                        return;
                    }
                    break;
                }
                _ => break,
            }
            match rest {
                [TokenTree::Punct(a), TokenTree::Punct(b), after @ ..]
                    if a.as_char() == ':' && b.as_char() == ':' =>
                {
                    rest = after;
                }
                _ => break,
            }
        }
        // One word alone is `pub(crate)`.
        if path.len() > 1 {
            self.add(path);
        }
    }

    /// Code in a string, as in `#[serde(with = "crate::…")]` or `#[serde(bound = "T: crate::…")]`.
    fn text(&mut self, literal: &str) {
        if let Ok(Lit::Str(text)) = syn::parse_str::<Lit>(literal)
            && let Ok(tokens) = text.value().parse::<TokenStream>()
        {
            self.tokens(tokens);
        }
    }

    fn use_tree(&mut self, tree: &UseTree, mut before: Vec<String>) {
        let mut used = Vec::new();
        leaves(tree, &mut before, &mut used);
        used.into_iter().for_each(|used| self.add(used.path));
    }
}

impl Visit<'_> for Paths {
    fn visit_item(&mut self, item: &Item) {
        if !is_for_tests(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &ItemUse) {
        self.use_tree(&item.tree, Vec::new());
    }

    fn visit_visibility(&mut self, visibility: &Visibility) {
        // The path in `pub(crate)` and `pub(super)` is not a use.
        if let Visibility::Restricted(restricted) = visibility
            && restricted.in_token.is_some()
        {
            self.visit_path(&restricted.path);
        }
    }

    fn visit_path(&mut self, path: &Path) {
        self.add(
            path.segments
                .iter()
                .map(|segment| segment.ident.to_string())
                .collect(),
        );
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invoked: &Macro) {
        visit::visit_macro(self, invoked);
        self.tokens(invoked.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &Attribute) {
        match &attribute.meta {
            Meta::List(list) => self.tokens(list.tokens.clone()),
            // The text of a comment names paths that nobody uses.
            Meta::NameValue(pair) if pair.path.is_ident("doc") => {}
            Meta::NameValue(_) | Meta::Path(_) => {}
        }
        visit::visit_attribute(self, attribute);
    }
}

/// True after `::`, and false after the single colon of `name: value`.
fn ends_in_path_separator(tokens: &[TokenTree]) -> bool {
    let is_colon =
        |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ':');
    matches!(tokens, [.., first, second] if is_colon(first) && is_colon(second))
}

fn is_for_tests(item: &Item) -> bool {
    let attributes = match item {
        Item::Mod(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        _ => return false,
    };
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => list.tokens.to_string() == "test",
        _ => false,
    })
}
