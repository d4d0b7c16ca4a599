//! What is made of the list of commands and options: completions, and the manual page.

use std::io::Write as _;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Arguments;
use crate::fault::Fault;
use crate::out::Out;

pub fn completions(shell: Shell, out: &mut Out) -> Result<ExitCode, Fault> {
    // Into memory first: the generator panics where it cannot write, as into a pipe that nobody reads.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "fluster", &mut script);
    out.write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// One page for all commands.
pub fn man(out: &mut Out) -> Result<ExitCode, Fault> {
    let mut page = Vec::new();
    let whole = Arguments::command();
    clap_mangen::Man::new(whole.clone()).render(&mut page)?;
    for command in whole.get_subcommands() {
        let name = command.get_name().to_owned();
        writeln!(page, ".SH \"FLUSTER {}\"", name.to_uppercase())?;
        let command = command.clone().bin_name(format!("fluster {name}"));
        let man = clap_mangen::Man::new(command);
        man.render_description_section(&mut page)?;
        man.render_synopsis_section(&mut page)?;
        man.render_options_section(&mut page)?;
        man.render_extra_section(&mut page)?;
    }
    out.write_all(&page)?;
    Ok(ExitCode::SUCCESS)
}
