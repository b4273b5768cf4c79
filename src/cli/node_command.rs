//! The platform starts containers with the command line of the Node sailor (wire-contract: Container commands): `node
//! …/run.js`, or `node …/runService.js METHOD`. The image contains this binary under the name `node` too.

use std::path::Path;

/// Translates a Node command line into one of this binary. Returns any other command line unchanged.
pub(super) fn translate_node_command(args: Vec<String>) -> Vec<String> {
    let mut rest = args.iter().skip(1).peekable();
    rest.next_if(|arg| is_file(arg, "node"));
    let Some(script) = rest.next() else {
        return args;
    };
    let mut command = vec!["component".to_owned()];
    if is_file(script, "run.js") {
        command.push("run".to_owned());
    } else if is_file(script, "runService.js") {
        command.push("service".to_owned());
        command.extend(rest.cloned());
    } else {
        return args;
    }
    command
}

fn is_file(path: &str, name: &str) -> bool {
    Path::new(path)
        .file_name()
        .is_some_and(|file_name| file_name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_command_lines_are_translated() {
        let table: [(&[&str], &[&str]); 8] = [
            (&["component"], &["component"]),
            (
                &["component", "service", "selectModel"],
                &["component", "service", "selectModel"],
            ),
            (
                &["node", "./node_modules/elasticio-sailor-nodejs/run.js"],
                &["component", "run"],
            ),
            (
                &["component", "node", "/home/node/node_modules/x/run.js"],
                &["component", "run"],
            ),
            (
                &["component", "/usr/local/bin/node", "run.js", "x"],
                &["component", "run"],
            ),
            (
                &["node", "x/runService.js", "verifyCredentials"],
                &["component", "service", "verifyCredentials"],
            ),
            (
                &["c", "node", "x/runService.js", "a", "b"],
                &["component", "service", "a", "b"],
            ),
            (&["node"], &["node"]),
        ];
        for (node, translated) in table {
            let node = node.iter().map(ToString::to_string).collect();
            assert_eq!(translate_node_command(node), translated);
        }
    }
}
