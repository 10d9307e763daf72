package conf

// Type is a key's type, with the numbers of DescribeConfigs.
type Type int8

// Types of keys.
const (
	Unknown  Type = 0
	Boolean  Type = 1
	String   Type = 2
	Int      Type = 3
	Short    Type = 4
	Long     Type = 5
	Double   Type = 6
	List     Type = 7
	Class    Type = 8
	Password Type = 9
)

// Source is where a value comes from, with the numbers of DescribeConfigs.
type Source int8

// Sources of values.
const (
	FromTopic          Source = 1
	FromDynamicBroker  Source = 2
	FromDynamicDefault Source = 3
	FromStaticBroker   Source = 4
	FromDefault        Source = 5
)

// Entry is one config as DescribeConfigs shows it.
type Entry struct {
	Name      string
	Value     *string // nil: null, or not to be shown
	ReadOnly  bool
	Source    Source
	Sensitive bool
	Type      Type
	Synonyms  []Synonym
	Doc       string
}

// Synonym is one place where an entry's value is, or could have been, taken
// from; the first is the one in force.
type Synonym struct {
	Name   string
	Value  *string
	Source Source
}
