//! `cargo xtask standin`: an image from the server programs on this machine, for `--postgres docker`
//! where no registry can be reached.

use pgmonkey_testserver::Docker;

use crate::args::Options;
use crate::servers::local_programs;

/// Builds it under the name of the image that would be pulled.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let docker = Docker::find()?;
    let image = &options.image;
    if docker.has_image(image) {
        eprintln!("{image} is on this machine already; to replace it: docker image rm {image}");
        return Ok(());
    }
    let binaries = local_programs(options)?;
    eprintln!("Docker: building {image} from {}", binaries.version()?);
    docker.build_standin(&binaries, image)?;
    eprintln!(
        "built {image}; use it with --postgres docker; remove it with: docker image rm {image}"
    );
    Ok(())
}
