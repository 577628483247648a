"""What a search cost, and the table behind ``target_recall``; the engine itself is C++."""
