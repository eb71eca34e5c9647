//! What a Rust file declares and names, read from its tokens. What stands under `#[cfg(test)]` is left out.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// A file, or a `mod` with its body in one.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// Modules with a body.
    pub(super) inline: Vec<(String, Module)>,
    /// Modules in files of their own.
    pub(super) files: Vec<String>,
    pub(super) items: Vec<Item>,
    pub(super) uses: Vec<Use>,
    /// Paths of two names and more that stand in the code.
    pub(super) paths: BTreeSet<Vec<String>>,
    /// Every name that stands in the code outside `use`.
    pub(super) names: BTreeSet<String>,
    /// The types of its `impl` blocks.
    pub(super) impls: Vec<Vec<String>>,
    /// All functions, methods too, with their lines.
    pub(super) functions: Vec<(usize, String)>,
    /// Documentation and string literals, with the lines where they begin.
    pub(super) texts: Vec<(usize, String)>,
}

#[derive(Debug)]
pub(super) struct Item {
    pub(super) name: String,
    /// Whether it is a `struct`, an `enum`, a `union`, a `trait` or a `type`.
    pub(super) is_type: bool,
}

/// One name that a `use` brings in; `*` for all of a module.
#[derive(Debug)]
pub(super) struct Use {
    pub(super) path: Vec<String>,
    pub(super) name: String,
    pub(super) public: bool,
}

/// Reads one file.
pub(super) fn read(text: &str) -> Result<Module, proc_macro2::LexError> {
    let mut module = Module::default();
    module.read_items(&without_tests(text.parse()?));
    Ok(module)
}

fn without_tests(stream: TokenStream) -> Vec<TokenTree> {
    let mut kept: Vec<TokenTree> = Vec::new();
    let mut tokens = stream.into_iter();
    while let Some(token) = tokens.next() {
        if kept.last().is_some_and(|last| is_punct(last, '#')) && is_test_only(&token) {
            kept.pop();
            let ends = |t: &TokenTree| is_punct(t, ';') || body(t, Delimiter::Brace).is_some();
            tokens.by_ref().find(ends);
        } else {
            kept.push(token);
        }
    }
    kept
}

fn is_test_only(attribute: &TokenTree) -> bool {
    let Some(inner) = body(attribute, Delimiter::Bracket) else { return false };
    let words = inner.to_string();
    let has = |word| words.split(|c: char| !c.is_alphanumeric()).any(|other| other == word);
    words.starts_with("cfg") && has("test") && !has("any") && !has("not")
}

fn is_punct(token: &TokenTree, char: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == char)
}

fn body(token: &TokenTree, delimiter: Delimiter) -> Option<TokenStream> {
    match token {
        TokenTree::Group(group) if group.delimiter() == delimiter => Some(group.stream()),
        _ => None,
    }
}

fn ident(token: Option<&TokenTree>) -> Option<String> {
    match token? {
        TokenTree::Ident(ident) => Some(ident.to_string()),
        _ => None,
    }
}

/// Whether `::` stands at `at`.
fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    let joint = |t: &TokenTree| matches!(t, TokenTree::Punct(p) if p.spacing() == Spacing::Joint);
    tokens.get(at).is_some_and(|t| is_punct(t, ':') && joint(t))
        && tokens.get(at + 1).is_some_and(|t| is_punct(t, ':'))
}

impl Module {
    fn read_items(&mut self, tokens: &[TokenTree]) {
        let (mut at, mut public) = (0, false);
        while let Some(token) = tokens.get(at) {
            let word = ident(Some(token)).unwrap_or_default();
            let name = ident(tokens.get(at + 1));
            match (word.as_str(), name) {
                ("pub", _) => public = true,
                ("use", Some(_)) => {
                    at = self.read_use(tokens, at + 1, public);
                    public = false;
                }
                ("mod", Some(name)) => {
                    at += 2;
                    public = false;
                    match tokens.get(at).and_then(|t| body(t, Delimiter::Brace)) {
                        Some(inner) => {
                            let mut module = Self::default();
                            module.read_items(&without_tests(inner));
                            self.texts.append(&mut module.texts);
                            self.functions.append(&mut module.functions);
                            self.inline.push((name, module));
                            at += 1;
                            continue;
                        }
                        None => self.files.push(name),
                    }
                }
                ("macro_rules", _) => {
                    self.items.extend(ident(tokens.get(at + 2)).map(|name| Item { name, is_type: false }));
                }
                ("impl", _) => self.impls.extend(self_type(&tokens[at + 1..])),
                ("struct" | "enum" | "union" | "trait" | "type", Some(name)) => {
                    self.items.push(Item { name, is_type: true });
                }
                ("fn" | "const" | "static", Some(name)) => self.items.push(Item { name, is_type: false }),
                _ => {}
            }
            if tokens.get(at).is_some_and(|t| is_punct(t, ';') || body(t, Delimiter::Brace).is_some()) {
                public = false;
            }
            at = self.read_code(tokens, at);
        }
    }

    /// Takes the names of one token, or of the path that begins with it; answers where the next begins.
    fn read_code(&mut self, tokens: &[TokenTree], mut at: usize) -> usize {
        match tokens.get(at) {
            Some(TokenTree::Group(group)) => {
                let inner = without_tests(group.stream());
                let mut next = 0;
                while let Some(token) = inner.get(next) {
                    let is_use = ident(Some(token)).is_some_and(|word| word == "use");
                    next = match ident(inner.get(next + 1)) {
                        Some(_) if is_use => self.read_use(&inner, next + 1, false),
                        _ => self.read_code(&inner, next),
                    };
                }
            }
            Some(TokenTree::Ident(first)) => {
                let mut path = vec![first.to_string()];
                if let ("fn", Some(name)) = (path[0].as_str(), ident(tokens.get(at + 1))) {
                    self.functions.push((first.span().start().line, name));
                }
                while is_colons(tokens, at + 1)
                    && let Some(name) = ident(tokens.get(at + 3))
                {
                    path.push(name);
                    at += 3;
                }
                self.names.extend(path.iter().cloned());
                if path.len() > 1 {
                    self.paths.insert(path);
                }
            }
            Some(TokenTree::Literal(literal)) => {
                let text = literal.to_string();
                if text.contains('"') {
                    self.texts.push((literal.span().start().line, text));
                }
            }
            _ => {}
        }
        at + 1
    }

    /// Takes the tree of a `use` that begins at `at`; answers where its `;` stands.
    fn read_use(&mut self, tokens: &[TokenTree], at: usize, public: bool) -> usize {
        let end = tokens[at..].iter().position(|t| is_punct(t, ';')).map_or(tokens.len(), |n| at + n);
        self.read_branch(&tokens[at..end], &[], public);
        end
    }

    fn read_branch(&mut self, tokens: &[TokenTree], before: &[String], public: bool) {
        let mut path = before.to_vec();
        let mut alias = None;
        for (at, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Ident(word) if word == "as" => {
                    alias = ident(tokens.get(at + 1));
                    break;
                }
                TokenTree::Ident(name) => path.push(name.to_string()),
                TokenTree::Punct(star) if star.as_char() == '*' => alias = Some("*".to_owned()),
                TokenTree::Group(group) => {
                    let branches: Vec<TokenTree> = group.stream().into_iter().collect();
                    let branches = branches.split(|t| is_punct(t, ','));
                    return branches
                        .filter(|b| !b.is_empty())
                        .for_each(|branch| self.read_branch(branch, &path, public));
                }
                _ => {}
            }
        }
        // `use a::{self}` names the module itself.
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        if let Some(name) = alias.or_else(|| path.last().cloned()) {
            self.uses.push(Use { path, name, public });
        }
    }
}

/// The type of an `impl` block, from what stands behind the word.
fn self_type(tokens: &[TokenTree]) -> Option<Vec<String>> {
    let (mut depth, mut path, mut whole) = (0, Vec::new(), false);
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                return Some(path).filter(|p| !p.is_empty());
            }
            TokenTree::Punct(punct) if punct.as_char() == '<' => depth += 1,
            TokenTree::Punct(punct)
                if punct.as_char() == '>' && !(at > 0 && is_punct(&tokens[at - 1], '-')) =>
            {
                depth -= 1;
            }
            TokenTree::Punct(punct) if punct.as_char() == ';' => return None,
            TokenTree::Ident(word) if depth == 0 && word == "for" => {
                path.clear();
                whole = false;
            }
            TokenTree::Ident(word) if depth == 0 && word == "where" => whole = true,
            // The letters of a lifetime.
            TokenTree::Ident(_) if at > 0 && is_punct(&tokens[at - 1], '\'') => {}
            TokenTree::Ident(word) if depth == 0 && !whole && word != "dyn" && word != "mut" => {
                path.push(word.to_string());
            }
            _ => {}
        }
    }
    None
}
