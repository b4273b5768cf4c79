//! Collects issues, and checks the types of members.

use super::{
    issue::Issue,
    rule::{self, Rule},
    tree::{Member, Node, Value},
    words,
};

/// The issues found so far.
pub(super) struct Report<'a> {
    text: &'a str,
    issues: Vec<Issue>,
}

impl<'a> Report<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let issues = Vec::new();
        Self { text, issues }
    }

    /// Returns the issues in the order of the text.
    pub(super) fn into_issues(mut self) -> Vec<Issue> {
        self.issues.sort_by_key(|issue| (issue.line, issue.column));
        self.issues
    }

    /// Adds an issue with a value.
    pub(super) fn add(
        &mut self,
        rule: Rule,
        node: &Node,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add_at(rule, node.start, &node.pointer, problem, remedy);
    }

    /// Adds an issue at an offset of the text.
    pub(super) fn add_at(
        &mut self,
        rule: Rule,
        at: usize,
        pointer: &str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (line, column) = place(self.text, at);
        self.issues.push(Issue {
            rule,
            line,
            column,
            pointer: pointer.to_owned(),
            problem: problem.into(),
            remedy: remedy.into(),
        });
    }

    fn wrong_type(&mut self, node: &Node, expected: &str) {
        self.add(
            rule::WRONG_TYPE,
            node,
            format!("expected {expected}, found {}", node.kind()),
            format!("give {expected}, or leave the member out"),
        );
    }

    /// Checks that a value has a type. Returns true if it has.
    pub(super) fn expect(&mut self, is: bool, node: &Node, expected: &str) -> bool {
        if !is {
            self.wrong_type(node, expected);
        }
        is
    }

    /// Returns a member that must be an object, if it is there.
    pub(super) fn object<'n>(&mut self, parent: &'n Node, name: &str) -> Option<&'n Node> {
        let node = parent.get(name)?;
        self.expect(node.is_object(), node, "an object")
            .then_some(node)
    }

    /// Returns a member that must be a list, if it is there.
    pub(super) fn list<'n>(&mut self, parent: &'n Node, name: &str) -> Option<&'n Node> {
        let node = parent.get(name)?;
        self.expect(matches!(node.value, Value::List(_)), node, "a list")
            .then_some(node)
    }

    /// Returns a member that must be a text, if it is there.
    pub(super) fn text<'n>(&mut self, parent: &'n Node, name: &str) -> Option<&'n str> {
        let node = parent.get(name)?;
        self.expect(node.as_text().is_some(), node, "a text");
        node.as_text()
    }

    /// Checks that a value is a text that is not empty. Returns it if it is a text.
    pub(super) fn filled<'n>(&mut self, node: &'n Node) -> Option<&'n str> {
        self.expect(node.as_text().is_some(), node, "a text");
        let text = node.as_text()?;
        if text.is_empty() {
            self.add(
                rule::EMPTY_TEXT,
                node,
                "the text is empty",
                "give a text, or leave the member out",
            );
        }
        Some(text)
    }

    /// Checks that some members are texts.
    pub(super) fn texts(&mut self, parent: &Node, names: &[&str]) {
        for name in names {
            self.text(parent, name);
        }
    }

    /// Checks that some members are booleans.
    pub(super) fn flags(&mut self, parent: &Node, names: &[&str]) {
        for node in names.iter().filter_map(|name| parent.get(name)) {
            self.expect(
                matches!(node.value, Value::Flag(_)),
                node,
                "a boolean (true or false)",
            );
        }
    }

    /// Checks `order`, which the platform sorts by.
    pub(super) fn order(&mut self, parent: &Node) {
        if let Some(node) = parent.get("order") {
            self.expect(matches!(node.value, Value::Number), node, "a number");
        }
    }

    /// Checks `help`.
    pub(super) fn help(&mut self, parent: &Node) {
        if let Some(help) = self.object(parent, "help") {
            self.texts(help, &["description", "link"]);
        }
    }

    /// Checks the title of a component or a function.
    pub(super) fn title(&mut self, node: &Node) {
        match node.get("title") {
            Some(title) => {
                self.filled(title);
            }
            None => self.add(
                rule::MISSING_TITLE,
                node,
                "it has no `title`, the name that users see",
                "add `title`",
            ),
        }
    }

    /// Reports a value that is not one of the expected ones.
    pub(super) fn valid(&mut self, node: Option<&Node>, is_valid: bool, expected: &str) {
        if let (Some(node), false) = (node, is_valid) {
            let problem = format!("expected {expected}");
            self.add(
                rule::INVALID_VALUE,
                node,
                problem,
                format!("write {expected}"),
            );
        }
    }

    /// Checks the name of a function or a field.
    pub(super) fn name(&mut self, member: &Member) {
        if member.name.is_empty() {
            self.add_at(
                rule::EMPTY_TEXT,
                member.start,
                &member.node.pointer,
                "the name is empty",
                "give it a name",
            );
        }
    }

    /// Reports members whose names are almost one of `known`.
    pub(super) fn spelling(&mut self, parent: &Node, known: &[&str]) {
        for member in parent.members() {
            let Some(meant) = words::meant(&member.name, known) else {
                continue;
            };
            if !parent.has(meant) {
                self.add_at(
                    rule::MISSPELT_MEMBER,
                    member.start,
                    &member.node.pointer,
                    format!("`{}` is no member that is read", member.name),
                    format!("rename it to `{meant}`"),
                );
            }
        }
    }
}

/// Returns the line and the column of an offset, both from 1. A column counts characters.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(at)];
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    let line = before.matches('\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}
