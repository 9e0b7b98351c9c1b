/// `; did you mean X?` for the nearest of `names`, empty if none is near.
func suggestion(for name: String, among names: [String]) -> String {
    let nearest = names.map { (name: $0, distance: distance(name, $0)) }.min { $0.distance < $1.distance }
    guard let nearest, nearest.distance <= max(2, name.count / 2) else { return "" }
    return "; did you mean \(nearest.name)?"
}

/// How many letters have to be changed, added or left out (Levenshtein).
private func distance(_ first: String, _ second: String) -> Int {
    let second = Array(second)
    var row = Array(0...second.count)
    for (index, letter) in first.enumerated() {
        var next = [index + 1]
        for (column, other) in second.enumerated() {
            let replaced = row[column] + (letter == other ? 0 : 1)
            next.append(min(replaced, row[column + 1] + 1, next[column] + 1))
        }
        row = next
    }
    return row[second.count]
}
