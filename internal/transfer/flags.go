package transfer

import "strings"

// letters says which letter stands for which flag in a kind of files.
type letters []struct {
	letter byte
	flag   string
}

// maildirLetters are those behind ":2," in the names of a maildir's files.
func maildirLetters() letters {
	return letters{{'S', `\Seen`}, {'R', `\Answered`}, {'F', `\Flagged`}, {'D', `\Draft`}, {'T', `\Deleted`}, {'P', "$Forwarded"}}
}

// mboxLetters are those of the fields Status (R) and X-Status (the others) of an mbox.
func mboxLetters() letters {
	return letters{{'R', `\Seen`}, {'A', `\Answered`}, {'F', `\Flagged`}, {'T', `\Draft`}, {'D', `\Deleted`}}
}

// flag gives the flag of a letter, "" when it stands for none.
func (l letters) flag(letter rune) string {
	for _, x := range l {
		if rune(x.letter) == letter {
			return x.flag
		}
	}
	return ""
}

// letter gives the letter of a flag, 0 when it has none.
func (l letters) letter(flag string) byte {
	for _, x := range l {
		if strings.EqualFold(x.flag, flag) {
			return x.letter
		}
	}
	return 0
}
