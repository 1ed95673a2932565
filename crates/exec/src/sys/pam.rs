//! Pluggable authentication modules, by the C library `libpam.so.0`, which is loaded when it is first wanted: a host
//! without it can run everything else.
//!
//! Only what a session needs: no authentication, no change of passwords. A module that asks the user something gets no
//! answer, and fails.

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::io;
use std::mem::size_of;
use std::os::unix::ffi::OsStrExt;
use std::ptr;

/// The name that every distribution has it under.
const LIBRARY: &CStr = c"libpam.so.0";
const SUCCESS: c_int = 0;
const BUFFER_ERROR: c_int = 5;
const CONVERSATION_ERROR: c_int = 19;
/// `PAM_ERROR_MSG` and `PAM_TEXT_INFO`; all other kinds of messages want an answer.
const TEXTS: [c_int; 2] = [3, 4];
const ESTABLISH: c_int = 0x2;
const DELETE: c_int = 0x4;
/// More of what modules say is not kept.
const MAX_WORDS: usize = 16 * 1024;
/// Linux-PAM's own bound on the messages of one conversation.
const MAX_MESSAGES: usize = 32;

/// What a transaction is about, beside its user and service.
#[derive(Debug, Clone, Copy)]
#[repr(i32)]
pub(crate) enum Item {
    Terminal = 3,
    RemoteHost = 4,
}

/// One transaction with PAM. It is not ended by itself: of two processes that have it after a fork, one must
/// [`Transaction::end`] it, and the other must forget it.
pub(crate) struct Transaction {
    functions: Functions,
    handle: *mut c_void,
    heard: *mut Heard,
}

/// What modules said, in the order in which they said it.
#[derive(Default)]
struct Heard {
    words: String,
    asked: bool,
}

#[repr(C)]
struct Message {
    style: c_int,
    text: *const c_char,
}

#[repr(C)]
struct Response {
    text: *mut c_char,
    code: c_int,
}

#[repr(C)]
struct Conversation {
    talk: extern "C" fn(c_int, *mut *const Message, *mut *mut Response, *mut c_void) -> c_int,
    data: *mut c_void,
}

type Start =
    unsafe extern "C" fn(*const c_char, *const c_char, *const Conversation, *mut *mut c_void) -> c_int;
type SetItem = unsafe extern "C" fn(*mut c_void, c_int, *const c_void) -> c_int;
type PutEnv = unsafe extern "C" fn(*mut c_void, *const c_char) -> c_int;
type EnvList = unsafe extern "C" fn(*mut c_void) -> *mut *mut c_char;
type Explain = unsafe extern "C" fn(*mut c_void, c_int) -> *const c_char;
type WithFlags = unsafe extern "C" fn(*mut c_void, c_int) -> c_int;

#[derive(Clone, Copy)]
struct Functions {
    start: Start,
    end: WithFlags,
    set_item: SetItem,
    put_env: PutEnv,
    env_list: EnvList,
    explain: Explain,
    account: WithFlags,
    credentials: WithFlags,
    open_session: WithFlags,
    close_session: WithFlags,
}

impl Transaction {
    /// Begins one for this user with the rules of this service.
    pub(crate) fn start(service: &str, user: &str) -> io::Result<Self> {
        let functions = Functions::load()?;
        let (service, user) = (CString::new(service)?, CString::new(user)?);
        let heard = Box::into_raw(Box::<Heard>::default());
        let conversation = Conversation { talk, data: heard.cast() };
        let mut handle = ptr::null_mut();
        // SAFETY: the strings are NUL-terminated; PAM copies them and the conversation; `heard` lives as long as the
        // transaction, because it is never freed before `end`.
        let code = unsafe { (functions.start)(service.as_ptr(), user.as_ptr(), &conversation, &mut handle) };
        if code == SUCCESS && !handle.is_null() {
            return Ok(Self { functions, handle, heard });
        }
        // SAFETY: made by `Box::into_raw` above, and PAM, which failed, does not keep it.
        drop(unsafe { Box::from_raw(heard) });
        Err(io::Error::other(format!("PAM cannot start (code {code})")))
    }

    pub(crate) fn set(&mut self, item: Item, value: &str) -> io::Result<()> {
        let value = CString::new(value)?;
        // SAFETY: the handle is of a started transaction; these items are NUL-terminated strings, which PAM copies.
        let code = unsafe { (self.functions.set_item)(self.handle, item as c_int, value.as_ptr().cast()) };
        self.outcome(code)
    }

    /// Sets a variable that modules see, and that the session gets unless a module changes it.
    pub(crate) fn put_variable(&mut self, name: &str, value: &str) -> io::Result<()> {
        let pair = CString::new(format!("{name}={value}"))?;
        // SAFETY: the handle is of a started transaction; the string is NUL-terminated and PAM copies it.
        let code = unsafe { (self.functions.put_env)(self.handle, pair.as_ptr()) };
        self.outcome(code)
    }

    /// Whether the account may be used now.
    pub(crate) fn check_account(&mut self) -> io::Result<()> {
        self.call(self.functions.account, 0)
    }

    pub(crate) fn establish_credentials(&mut self) -> io::Result<()> {
        self.call(self.functions.credentials, ESTABLISH)
    }

    pub(crate) fn open_session(&mut self) -> io::Result<()> {
        self.call(self.functions.open_session, 0)
    }

    /// Closes the session and takes the credentials back. There is nobody left to tell what goes wrong.
    pub(crate) fn close_session(&mut self) {
        let _ = self.call(self.functions.close_session, 0);
        self.take_credentials_back();
    }

    pub(crate) fn take_credentials_back(&mut self) {
        let _ = self.call(self.functions.credentials, DELETE);
    }

    /// The variables that modules have set.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        // SAFETY: the handle is of a started transaction; the answer is null or a list that ends with a null pointer.
        let list = unsafe { (self.functions.env_list)(self.handle) };
        let mut variables = Vec::new();
        if list.is_null() {
            return variables;
        }
        for at in 0.. {
            // SAFETY: no element before this one was the null pointer that ends the list.
            let place = unsafe { list.add(at) };
            // SAFETY: see above; the element is readable.
            let pair = unsafe { *place };
            if pair.is_null() {
                break;
            }
            // SAFETY: the elements are NUL-terminated strings.
            let text = unsafe { CStr::from_ptr(pair) }.to_str().ok().map(str::to_owned);
            variables.extend(
                text.as_deref().and_then(|pair| pair.split_once('=')).map(|(n, v)| (n.into(), v.into())),
            );
            // SAFETY: the caller of `pam_getenvlist` frees each element, once.
            unsafe { libc::free(pair.cast()) };
        }
        // SAFETY: the caller of `pam_getenvlist` frees the list, once.
        unsafe { libc::free(list.cast()) };
        variables
    }

    /// What modules have said since this was last asked, one line or more each.
    pub(crate) fn take_words(&mut self) -> String {
        // SAFETY: `heard` was made by `Box::into_raw` and is freed by `end` only; no module runs now.
        let heard = unsafe { &mut *self.heard };
        std::mem::take(&mut heard.words)
    }

    /// Ends the transaction: modules let go of what they keep.
    pub(crate) fn end(self) {
        // SAFETY: the handle is of a started transaction and is not used again.
        unsafe { (self.functions.end)(self.handle, SUCCESS) };
        // SAFETY: made by `Box::into_raw`, and nobody has it any more.
        drop(unsafe { Box::from_raw(self.heard) });
    }

    fn call(&mut self, function: WithFlags, flags: c_int) -> io::Result<()> {
        // SAFETY: the handle is of a started transaction, and `function` is one of those that take it and flags.
        let code = unsafe { function(self.handle, flags) };
        self.outcome(code)
    }

    fn outcome(&self, code: c_int) -> io::Result<()> {
        if code == SUCCESS {
            return Ok(());
        }
        // SAFETY: takes any code; the answer is null or a string that lives as long as the transaction.
        let text = unsafe { (self.functions.explain)(self.handle, code) };
        // SAFETY: `heard` was made by `Box::into_raw` and is freed by `end` only; no module runs now.
        let asked = unsafe { (*self.heard).asked };
        let text = match (asked, text.is_null()) {
            (true, _) => "a module asked for input, which is not possible here".to_owned(),
            (false, true) => format!("code {code}"),
            // SAFETY: not null, and NUL-terminated.
            (false, false) => unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned(),
        };
        Err(io::Error::other(text))
    }
}

impl Functions {
    fn load() -> io::Result<Self> {
        // SAFETY: loads a library of the host's by its fixed name; its initialisers are those of the host's own PAM.
        let library = unsafe { libc::dlopen(LIBRARY.as_ptr(), libc::RTLD_NOW) };
        if library.is_null() {
            return Err(io::Error::other(
                "libpam.so.0 cannot be loaded; install PAM or set ssh_service.pam.enabled to no",
            ));
        }
        macro_rules! function {
            ($name:literal, $type:ty) => {{
                // SAFETY: the library was loaded and stays so; the name is NUL-terminated.
                let symbol = unsafe { libc::dlsym(library, concat!($name, "\0").as_ptr().cast()) };
                if symbol.is_null() {
                    return Err(io::Error::other(concat!("libpam.so.0 has no ", $name)));
                }
                // SAFETY: the symbol is the function of this name, whose type in Linux-PAM's headers is the field's.
                unsafe { std::mem::transmute::<*mut c_void, $type>(symbol) }
            }};
        }
        Ok(Self {
            start: function!("pam_start", Start),
            end: function!("pam_end", WithFlags),
            set_item: function!("pam_set_item", SetItem),
            put_env: function!("pam_putenv", PutEnv),
            env_list: function!("pam_getenvlist", EnvList),
            explain: function!("pam_strerror", Explain),
            account: function!("pam_acct_mgmt", WithFlags),
            credentials: function!("pam_setcred", WithFlags),
            open_session: function!("pam_open_session", WithFlags),
            close_session: function!("pam_close_session", WithFlags),
        })
    }
}

/// What modules call to speak to the user: texts are kept for later, questions are refused.
extern "C" fn talk(
    count: c_int,
    messages: *mut *const Message,
    responses: *mut *mut Response,
    data: *mut c_void,
) -> c_int {
    let count = match usize::try_from(count) {
        Ok(count @ 1..=MAX_MESSAGES) if !messages.is_null() && !responses.is_null() && !data.is_null() => {
            count
        }
        _ => return CONVERSATION_ERROR,
    };
    // SAFETY: `data` is what `start` gave PAM, alive until `end`; while a module runs nobody else looks at it.
    let heard = unsafe { &mut *data.cast::<Heard>() };
    for at in 0..count {
        // SAFETY: `messages` has `count` elements.
        let place = unsafe { messages.add(at) };
        // SAFETY: see above; the element is readable.
        let message = unsafe { *place };
        // SAFETY: each element is null or points to a message, for the time of this call.
        let Some(message) = (unsafe { message.as_ref() }) else { return CONVERSATION_ERROR };
        if !TEXTS.contains(&message.style) {
            heard.asked = true;
            return CONVERSATION_ERROR;
        }
        if !message.text.is_null() {
            // SAFETY: not null, and NUL-terminated.
            let text = unsafe { CStr::from_ptr(message.text) };
            heard.keep(OsStr::from_bytes(text.to_bytes()));
        }
    }
    // SAFETY: asks for zeroed memory; PAM frees it.
    let answers = unsafe { libc::calloc(count, size_of::<Response>()) };
    if answers.is_null() {
        return BUFFER_ERROR;
    }
    // SAFETY: `responses` is writable, checked above.
    unsafe { *responses = answers.cast() };
    SUCCESS
}

impl Heard {
    fn keep(&mut self, text: &OsStr) {
        let text = text.to_string_lossy();
        if self.words.len() + text.len() < MAX_WORDS {
            self.words.push_str(&text);
            self.words.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What PAM gets back for one message of this style.
    fn say(style: c_int, text: Option<&CStr>, heard: &mut Heard) -> (c_int, bool) {
        let message = Message { style, text: text.map_or(ptr::null(), CStr::as_ptr) };
        let mut list: [*const Message; 1] = [&message];
        let mut answers = ptr::null_mut();
        let code = talk(1, list.as_mut_ptr(), &mut answers, ptr::from_mut(heard).cast());
        let answered = !answers.is_null();
        // SAFETY: null, or allocated by `talk` for its caller to free.
        unsafe { libc::free(answers.cast()) };
        (code, answered)
    }

    #[test]
    fn texts_are_kept_and_questions_get_no_answer() {
        let mut heard = Heard::default();
        assert_eq!(say(4, Some(c"hello"), &mut heard), (SUCCESS, true));
        assert_eq!(say(3, Some(c"oh no"), &mut heard), (SUCCESS, true));
        assert_eq!(say(4, None, &mut heard), (SUCCESS, true));
        assert_eq!((heard.words.as_str(), heard.asked), ("hello\noh no\n", false));
        for style in [1, 2, 5, 7, 99] {
            heard.asked = false;
            assert_eq!(say(style, Some(c"Password: "), &mut heard), (CONVERSATION_ERROR, false));
            assert!(heard.asked);
        }
        assert_eq!(talk(0, ptr::null_mut(), ptr::null_mut(), ptr::null_mut()), CONVERSATION_ERROR);
    }

    #[test]
    fn a_module_that_talks_without_end_is_cut_off() {
        let mut heard = Heard::default();
        let long = CString::new("x".repeat(1000)).expect("no NUL");
        for _ in 0..100 {
            assert_eq!(say(4, Some(&long), &mut heard), (SUCCESS, true));
        }
        assert!(heard.words.len() <= MAX_WORDS);
    }
}
