package population

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Names are those of scientists, so that nobody takes them for customers of somebody.
func givenNames() []string {
	return []string{
		"Ada", "Alan", "Barbara", "Blaise", "Carl", "Cecilia", "Chien", "Dorothy", "Edwin", "Emmy", "Enrico", "Evelyn",
		"Grace", "Gertrude", "Hedy", "Henri", "Ida", "Inge", "James", "Jocelyn", "Johannes", "Katherine", "Kurt", "Lise",
		"Lynn", "Margaret", "Maria", "Mary", "Max", "Mileva", "Niels", "Otto", "Rachel", "Rosalind", "Sophie", "Subrahmanyan",
		"Tycho", "Vera", "Wang", "Wolfgang",
	}
}

func familyNames() []string {
	return []string{
		"Anning", "Apgar", "Ayrton", "Bassi", "Bell", "Blackwell", "Bohr", "Burnell", "Carson", "Cori", "Curie", "Darwin",
		"Dresselhaus", "Einstein", "Elion", "Euler", "Fermat", "Fossey", "Franklin", "Gauss", "Germain", "Goeppert",
		"Goodall", "Herschel", "Hodgkin", "Hopper", "Johnson", "Joliot", "Kepler", "Kovalevskaya", "Lamarr", "Lehmann",
		"Leibniz", "Lovelace", "McClintock", "Meitner", "Mendel", "Mirzakhani", "Mitchell", "Noether", "Payne", "Planck",
		"Ride", "Rubin", "Sanger", "Somerville", "Strickland", "Turing", "Wu", "Yalow",
	}
}

// person is somebody with an account, while a life is made up for them.
type person struct {
	Customer
	habit habit
	// emails with the session number from which each is used; the first one is from 0.
	emails []addressChange
}

// addressChange says from which web session on a person uses an address.
type addressChange struct {
	session int
	email   string
}

// emailAt is the address that a person uses in their web session of this number.
func (p *person) emailAt(session int) string {
	email := p.emails[0].email
	for _, change := range p.emails {
		if session >= change.session {
			email = change.email
		}
	}
	return email
}

// habit is how somebody shops.
type habit struct {
	sessions  [2]int  // least and most
	newest    float64 // days before the clock of the newest possible session
	span      float64 // days that the sessions are spread over
	orderOdds float64 // that a session ends with an order
}

// chooseHabit draws a habit: frequent buyers, people who come now and then, and those who stopped coming.
func chooseHabit(r *rand.Rand) habit {
	switch roll := r.Float64(); {
	case roll < 0.12:
		return habit{sessions: [2]int{5, 9}, newest: youngest, span: 110, orderOdds: 0.7}
	case roll < 0.65:
		return habit{sessions: [2]int{2, 5}, newest: youngest, span: oldest, orderOdds: 0.35}
	default:
		return habit{sessions: [2]int{1, 4}, newest: 65, span: oldest - 65, orderOdds: 0.3}
	}
}

// newPerson makes up an account.
func newPerson(r *rand.Rand, c Config, number int) *person {
	given, family := pick(r, givenNames()), pick(r, familyNames())
	p := &person{habit: chooseHabit(r)}
	p.Customer = Customer{
		Profile: number,
		UserID:  fmt.Sprintf("C-%d-%05d", c.Seed, number+1),
		Name:    given + " " + family,
		Phone:   fmt.Sprintf("+3069%08d", r.IntN(100_000_000)),
		Country: pick(r, []string{"DE", "DE", "FR", "GB", "GR", "NL", "PL", "SE"}),
		Plan:    pick(r, []string{"free", "free", "free", "free", "free", "free", "plus", "plus", "plus", "pro", "pro"}),
	}
	p.Email = address(given, family, p.UserID, pick(r, []string{"example.com", "example.net", "example.org"}))
	p.emails = []addressChange{{email: p.Email}}
	return p
}

// address is unique for the account that it is made of.
func address(given, family, userID, domain string) string {
	number := strings.ReplaceAll(strings.TrimPrefix(userID, "C-"), "-", ".")
	return strings.ToLower(fmt.Sprintf("%s.%s.%s@%s", given, family, number, domain))
}

// pick draws one of the choices.
func pick[T any](r *rand.Rand, choices []T) T { return choices[r.IntN(len(choices))] }

// between draws a whole number, both ends included.
func between(r *rand.Rand, low, high int) int { return low + r.IntN(high-low+1) }
