package sendmail

import (
	"fmt"
	"strings"
)

// mode is what is to be done.
type mode byte

const (
	deliver    mode = 'm' // -bm: a message on standard input
	speak      mode = 's' // -bs: SMTP on standard input and output
	printQueue mode = 'p' // -bp: list the queue, as mailq
	aliasesNow mode = 'i' // -bi: newaliases; there is nothing to rebuild
)

// arguments is a command line of sendmail.
type arguments struct {
	mode       mode
	extract    bool   // -t: recipients from the header
	ignoreDots bool   // -i, -oi: a line with a dot does not end the message
	sender     string // -f, -r
	fullName   string // -F
	notify     string // -N
	ret        string // -R
	envelopeID string // -V
	config     string // -C
	data       string // --data, for tests and for several servers on one machine
	verbose    bool
	recipients []string
}

// parse reads the options that programs use; of sendmail's others those that change nothing here are passed over.
func parse(name string, args []string) (arguments, error) {
	a := arguments{mode: deliver}
	switch name {
	case "mailq":
		a.mode = printQueue
	case "newaliases":
		a.mode = aliasesNow
	case "rmail":
		a.ignoreDots = true
	}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			a.recipients = append(a.recipients, args...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			a.recipients = append(a.recipients, arg)
			continue
		}
		used, err := a.option(arg, args)
		if err != nil {
			return a, err
		}
		args = args[used:]
	}
	return a, nil
}

// option takes one option and says how many of the following words belong to it.
func (a *arguments) option(arg string, rest []string) (used int, err error) {
	for long, to := range map[string]*string{"--data": &a.data, "--config": &a.config} {
		if v, ok := strings.CutPrefix(arg, long+"="); ok {
			*to = v
			return 0, nil
		}
		if arg == long {
			return a.value("", rest, long, to)
		}
	}
	switch arg {
	case "-t":
		a.extract = true
	case "-i", "-oi":
		a.ignoreDots = true
	case "-ti", "-it":
		a.extract, a.ignoreDots = true, true
	case "-v":
		a.verbose = true
	case "-bm", "-bs", "-bp", "-bi":
		a.mode = mode(arg[2])
	case "-I":
		a.mode = aliasesNow
	case "-bd", "-bD", "-bh", "-bH", "-bv", "-bt":
		return 0, fmt.Errorf("%s is not done here; `postel help` lists what is", arg)
	case "-n", "-m", "-s", "-G", "-U", "-e", "-em", "-ep", "-eq", "-ew", "-q":
	default:
		return a.withValue(arg, rest)
	}
	return 0, nil
}

// withValue takes options whose value follows, at once or as the next word.
func (a *arguments) withValue(arg string, rest []string) (int, error) {
	ignored := ""
	to := map[byte]*string{
		'f': &a.sender, 'r': &a.sender, 'F': &a.fullName, 'N': &a.notify, 'R': &a.ret, 'V': &a.envelopeID,
		'C': &a.config, 'B': &ignored, 'L': &ignored, 'h': &ignored, 'A': &ignored, 'O': &ignored, 'X': &ignored, 'p': &ignored,
	}[arg[1]]
	switch {
	case to != nil:
		return a.value(arg[2:], rest, arg, to)
	case arg[1] == 'o' || arg[1] == 'q' || arg[1] == 'd': // -oem, -odi, -q30m: how, not what
		return 0, nil
	}
	return 0, fmt.Errorf("unknown option %s", arg)
}

func (a *arguments) value(joined string, rest []string, name string, to *string) (int, error) {
	if joined != "" {
		*to = joined
		return 0, nil
	}
	if len(rest) == 0 {
		return 0, fmt.Errorf("%s needs a value", name)
	}
	*to = rest[0]
	return 1, nil
}
