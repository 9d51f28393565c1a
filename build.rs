//! Builds the kernels: for CUDA devices with nvcc, where there is one, and for the CPU (feature
//! `simt`) with the host's C++ compiler.
//!
//! | variable | meaning |
//! |---|---|
//! | `RECIS_CUDA` | `auto` (default): kernels if nvcc is found; `require`: an error if not; `off` |
//! | `NVCC`, `CUDA_HOME`, `CUDA_PATH` | where nvcc is; named but not there or broken is an error |
//! | `CXX` | the host's compiler for `simt`; `c++` if not set |
//! | `RECIS_CUDA_ARCHS` | architectures instead of all that nvcc knows: `80,90a,100,120` |

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Machine code is built for these, as far as the compiler knows them; PTX for everything newer.
const ARCHS: [&str; 4] = ["80", "90a", "100", "120"];

fn main() {
    println!("cargo::rustc-check-cfg=cfg(recis_cuda)");
    println!("cargo::rerun-if-changed=cuda");
    println!("cargo::rerun-if-changed=src/ffi/bindings.rs");
    for name in ["RECIS_CUDA", "RECIS_CUDA_ARCHS", "NVCC", "CUDA_HOME", "CUDA_PATH", "CXX"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    if env::var_os("CARGO_FEATURE_SIMT").is_some() {
        build_simt();
    }
    let mode = env::var("RECIS_CUDA").unwrap_or_else(|_| "auto".into());
    match (mode.as_str(), find_nvcc()) {
        ("off", _) => {}
        ("auto" | "require", Ok(Some(nvcc))) => build_cuda(&nvcc),
        ("auto", Ok(None)) => println!(
            "cargo::warning=nvcc not found: built without CUDA kernels. scripts/setup-cuda installs it; \
             RECIS_CUDA=off says that this is meant"
        ),
        ("require", Ok(None)) => stop(
            "RECIS_CUDA=require, but nvcc was not found. Set NVCC or CUDA_HOME, or run scripts/setup-cuda",
        ),
        ("auto" | "require", Err(error)) => stop(&error),
        (other, _) => stop(&format!("RECIS_CUDA={other} is unknown; one of auto, require, off")),
    }
}

/// Ends the build with a message instead of a backtrace.
fn stop(message: &str) -> ! {
    println!("cargo::error={message}");
    std::process::exit(1)
}

/// The first nvcc there is. One that is named must be there.
fn find_nvcc() -> Result<Option<PathBuf>, String> {
    let named = [("NVCC", ""), ("CUDA_HOME", "bin/nvcc"), ("CUDA_PATH", "bin/nvcc")];
    for (name, below) in named {
        if let Some(value) = env::var_os(name).filter(|value| !value.is_empty()) {
            let nvcc = if below.is_empty() { value.into() } else { Path::new(&value).join(below) };
            let missing =
                format!("{name} is set, but {} is not a file: unset it or correct it", nvcc.display());
            return if nvcc.is_file() { Ok(Some(nvcc)) } else { Err(missing) };
        }
    }
    let local =
        Path::new(&env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join(".cuda/toolkit/bin/nvcc");
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).map(|folder| folder.join("nvcc"));
    let usual = PathBuf::from("/usr/local/cuda/bin/nvcc");
    Ok([local].into_iter().chain(on_path).chain([usual]).find(|nvcc| nvcc.is_file()))
}

fn build_cuda(nvcc: &Path) {
    let version = Command::new(nvcc).arg("--version").output();
    if !version.is_ok_and(|output| output.status.success()) {
        stop(&format!("{} does not run. Set NVCC to one that does, or RECIS_CUDA=off", nvcc.display()));
    }
    let mut command = vec![nvcc.display().to_string()];
    let options =
        ["-std=c++20", "-O3", "-lineinfo", "-Icuda", "-Xcompiler=-fPIC,-fvisibility=hidden,-Wall,-Wextra"];
    command.extend(options.map(String::from));
    command.extend(gencode(nvcc));
    let out = out_dir().join("cuda");
    archive("recis_cuda", &compile(&command, &out, &sources()), &out);
    println!("cargo::rustc-link-search=native={}", runtime_folder(nvcc).display());
    println!("cargo::rustc-link-lib=static=cudart_static");
    ["stdc++", "rt", "pthread", "dl"].iter().for_each(|lib| println!("cargo::rustc-link-lib={lib}"));
    println!("cargo::rustc-cfg=recis_cuda");
}

/// The folder of the CUDA runtime that belongs to a compiler.
fn runtime_folder(nvcc: &Path) -> PathBuf {
    let nvcc = nvcc.canonicalize().unwrap_or(nvcc.into());
    let root = nvcc.parent().and_then(Path::parent).unwrap_or(Path::new("/usr/local/cuda"));
    // NVIDIA's layouts, PyPI's, and Debian's, which is not under the root.
    let folders =
        ["lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib", "/usr/lib/x86_64-linux-gnu"];
    let found = folders.iter().map(|lib| root.join(lib)).find(|lib| lib.join("libcudart_static.a").is_file());
    found.unwrap_or_else(|| {
        let root = root.display();
        stop(&format!("no libcudart_static.a in {root}/lib64 or {root}/lib: is the CUDA runtime installed?"))
    })
}

/// The options that name the architectures.
fn gencode(nvcc: &Path) -> Vec<String> {
    let machine_code = |arch: &str| format!("-gencode=arch=compute_{arch},code=sm_{arch}");
    if let Ok(archs) = env::var("RECIS_CUDA_ARCHS") {
        return archs.split(',').map(|arch| machine_code(arch.trim())).collect();
    }
    let known = Command::new(nvcc).arg("--list-gpu-code").output().map(|output| output.stdout);
    let known = String::from_utf8_lossy(&known.unwrap_or_default()).into_owned();
    let knows = |arch: &str| known.lines().any(|code| code == format!("sm_{}", arch.trim_end_matches('a')));
    let mut options: Vec<String> = ARCHS.into_iter().filter(|arch| knows(arch)).map(machine_code).collect();
    options.push("-gencode=arch=compute_80,code=compute_80".into());
    options
}

/// The kernels once more, as functions `recis_simt_…` that run them on the CPU.
fn build_simt() {
    let header = read("cuda/include/recis.h");
    let names = function_names(&header);
    let defines = out_dir().join("simt_names.h");
    // So that both builds of the kernels can be linked into one program.
    write(
        &defines,
        &names.iter().map(|name| format!("#define {name} {}\n", simt_name(name))).collect::<String>(),
    );
    write(&out_dir().join("simt.rs"), &simt_bindings(&names));

    let compiler = env::var("CXX").unwrap_or_else(|_| "c++".into());
    let mut command: Vec<String> = compiler.split_whitespace().map(String::from).collect();
    let watch = watch_accesses(&command);
    let options = ["-std=c++20", "-O2", "-g1", "-fPIC", "-Wall", "-Wextra", "-Wno-unknown-pragmas"];
    command.extend(options.map(String::from));
    // What is rounded on its own in the source stays so.
    command.push("-ffp-contract=off".into());
    // Ubuntu's compilers turn on a check that takes a switch of stacks for an error.
    command.push("-U_FORTIFY_SOURCE".into());
    command.extend(["-DRECIS_SIMT", "-Drecis=recis_simt", "-Icuda", "-include"].map(String::from));
    command.extend([defines.display().to_string(), "-xc++".into()]);
    let out = out_dir().join("simt");
    let bed = ["memory", "multiply", "places", "races", "runtime"]
        .map(|name| format!("cuda/simt/{name}.cpp").into());
    let mut objects = compile(&command, &out.join("bed"), &bed);
    command.extend(watch);
    let mut kernels = sources();
    kernels.push("cuda/simt/planted.cu".into());
    objects.extend(compile(&command, &out.join("kernels"), &kernels));
    archive("recis_simt", &objects, &out);
    ["stdc++", "pthread"].iter().for_each(|lib| println!("cargo::rustc-link-lib={lib}"));
}

/// Options that let a kernel call `cuda/simt/races.cpp` before each load and store.
fn watch_accesses(compiler: &[String]) -> Vec<String> {
    let version = Command::new(&compiler[0]).args(&compiler[1..]).arg("--version").output();
    let clang = version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("clang"));
    // Volatile accesses are told apart. No load moves to where the source has none.
    let options: &[&str] = if clang {
        &["-fsanitize=thread", "-mllvm", "-tsan-distinguish-volatile=1"]
    } else {
        &["-fsanitize=thread", "--param=tsan-distinguish-volatile=1", "-fno-tree-loop-im", "-fno-tree-sra"]
    };
    options.iter().map(|option| option.to_string()).collect()
}

/// The functions of the C header.
fn function_names(header: &str) -> Vec<&str> {
    let mut names: Vec<&str> = header
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("recis_") && header.contains(&format!("{word}(")))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn simt_name(name: &str) -> String {
    name.replacen("recis_", "recis_simt_", 1)
}

/// The bindings' functions under their own names, linked to those that run on the CPU.
fn simt_bindings(names: &[&str]) -> String {
    let bindings = read("src/ffi/bindings.rs");
    let mut functions = bindings.split_once("unsafe extern").map(|(_, rest)| format!("unsafe extern{rest}"));
    for name in names {
        let linked = format!("#[link_name = \"{}\"]\n    pub fn {name}(", simt_name(name));
        functions = functions.map(|text| text.replace(&format!("pub fn {name}("), &linked));
    }
    functions.unwrap_or_else(|| stop("src/ffi/bindings.rs has no functions: run scripts/bindings"))
}

/// The kernels: every .cu file of the folder.
fn sources() -> Vec<PathBuf> {
    let files = fs::read_dir("cuda").unwrap_or_else(|e| stop(&format!("cuda: {e}")));
    let mut files: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "cu"));
    files.sort();
    files
}

/// Compiles what has changed, `NUM_JOBS` files at a time; returns the objects.
fn compile(command: &[String], out: &Path, files: &[PathBuf]) -> Vec<PathBuf> {
    forget_other_options(command, out);
    let jobs = env::var("NUM_JOBS").ok().and_then(|jobs| jobs.parse().ok()).unwrap_or(1usize);
    let (next, errors) = (AtomicUsize::new(0), Mutex::new(String::new()));
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(files.len()) {
            scope.spawn(|| {
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = compile_one(command, file, &object(out, file)) {
                        errors.lock().unwrap_or_else(PoisonError::into_inner).push_str(&error);
                    }
                }
            });
        }
    });
    let errors = errors.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !errors.is_empty() {
        errors.lines().for_each(|line| println!("cargo::error={line}"));
        std::process::exit(1);
    }
    files.iter().map(|file| object(out, file)).collect()
}

/// Removes objects that another command line made.
fn forget_other_options(command: &[String], out: &Path) {
    let (stamp, command) = (out.join("command"), command.join(" "));
    if !fs::read_to_string(&stamp).is_ok_and(|old| old == command) {
        let _ = fs::remove_dir_all(out);
        fs::create_dir_all(out).unwrap_or_else(|e| stop(&format!("{}: {e}", out.display())));
        write(&stamp, &command);
    }
}

/// Compiles a file unless its object is fresh. Warnings are passed on, errors returned.
fn compile_one(command: &[String], file: &Path, object: &Path) -> Result<(), String> {
    let dependencies = object.with_extension("d");
    if is_fresh(object, &dependencies) {
        return Ok(());
    }
    let mut compiler = Command::new(&command[0]);
    compiler.args(&command[1..]).args(["-MD", "-MF"]).arg(&dependencies);
    compiler.arg("-c").arg(file).arg("-o").arg(object);
    let output = compiler.output().map_err(|e| format!("{}: {e}\n", command[0]))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let _ = fs::remove_file(object);
        return Err(format!("{}:\n{text}{}\n", file.display(), String::from_utf8_lossy(&output.stdout)));
    }
    text.lines().for_each(|line| println!("cargo::warning={line}"));
    Ok(())
}

fn object(out: &Path, file: &Path) -> PathBuf {
    out.join(file.file_name().unwrap_or_default()).with_extension("o")
}

/// Whether an object is newer than all it was made from.
fn is_fresh(object: &Path, dependencies: &Path) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    let (Some(built), Ok(rule)) = (modified(object), fs::read_to_string(dependencies)) else { return false };
    let rule = rule.replace("\\\n", " ");
    let Some((_, files)) = rule.split_once(": ") else { return false };
    files.split_whitespace().all(|file| modified(Path::new(file)).is_some_and(|time| time <= built))
}

fn archive(name: &str, objects: &[PathBuf], out: &Path) {
    let file = out.join(format!("lib{name}.a"));
    // `ar` would keep members whose source is gone.
    let _ = fs::remove_file(&file);
    let status = Command::new("ar").arg("crs").arg(&file).args(objects).status();
    if !status.is_ok_and(|status| status.success()) {
        stop("ar failed; is binutils installed?");
    }
    println!("cargo::rustc-link-search=native={}", out.display());
    println!("cargo::rustc-link-lib=static={name}");
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| stop(&format!("{path}: {e}")))
}

/// Writes a file only if that changes it, so that what depends on it stays fresh.
fn write(path: &Path, text: &str) {
    if !fs::read_to_string(path).is_ok_and(|old| old == text) {
        fs::write(path, text).unwrap_or_else(|e| stop(&format!("{}: {e}", path.display())));
    }
}

fn out_dir() -> PathBuf {
    PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default())
}
